"""A tiny Llama checkpoint, written byte by byte so that tests can break it, and its leaves by plain numpy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxpaged.decoder.functional import FunctionalDecoder, build_decoder
from jaxpaged.models.architectures.llama import ARCHITECTURE
from jaxpaged.models.heads import plan_heads

LAYERS, HIDDEN, FFN, HEADS, KV_HEADS, DIM, VOCAB = 3, 32, 48, 8, 2, 4, 131
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": FFN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": DIM,
    "vocab_size": VOCAB,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
RULES = ARCHITECTURE.weights
NAMES = {
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float64": "F64",
    "int32": "I32",
    "uint8": "U8",
}

Tensors = dict[str, np.ndarray]


def decoder(dtype: str = "float32", tensor_parallel: int = 1) -> FunctionalDecoder:
    return build_decoder(ARCHITECTURE.spec_from_hf(CONFIG), dtype=np.dtype(dtype), tensor_parallel=tensor_parallel)


def tensors(dtype: str = "float32", seed: int = 0) -> Tensors:
    """Random tensors in the order of the file: no two values of a checkpoint mean the same place by accident."""
    rng = np.random.default_rng(seed)
    shapes = {
        "model.embed_tokens.weight": (VOCAB, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCAB, HIDDEN),
    }
    for i in range(LAYERS):
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in LAYER_SHAPES.items()}
    return {name: rng.standard_normal(shape).astype(np.dtype(dtype)) for name, shape in shapes.items()}


LAYER_SHAPES = {
    "input_layernorm.weight": (HIDDEN,),
    "mlp.down_proj.weight": (HIDDEN, FFN),
    "mlp.gate_proj.weight": (FFN, HIDDEN),
    "mlp.up_proj.weight": (FFN, HIDDEN),
    "post_attention_layernorm.weight": (HIDDEN,),
    "self_attn.k_proj.weight": (KV_HEADS * DIM, HIDDEN),
    "self_attn.o_proj.weight": (HIDDEN, HEADS * DIM),
    "self_attn.q_proj.weight": (HEADS * DIM, HIDDEN),
    "self_attn.v_proj.weight": (KV_HEADS * DIM, HIDDEN),
}


def expected_leaves(given: Mapping[str, np.ndarray], tensor_parallel: int = 1) -> dict[str, np.ndarray]:
    """What the leaves must hold, in the checkpoint's dtype, put together element by element."""
    layout = plan_heads(HEADS, KV_HEADS, tensor_parallel)

    def layer(i: int) -> dict[str, np.ndarray]:
        at = {name: given[f"model.layers.{i}.{name}"] for name in LAYER_SHAPES}
        q, k, v = (at[f"self_attn.{part}_proj.weight"].reshape(-1, DIM, HIDDEN) for part in "qkv")
        o = at["self_attn.o_proj.weight"].reshape(HIDDEN, HEADS, DIM)
        qkv = np.zeros((layout.slots, layout.group + 2, DIM, HIDDEN), q.dtype)
        out = np.zeros((HIDDEN, layout.slots, layout.group, DIM), q.dtype)
        for slot, (kv, queries) in enumerate(zip(layout.kv, layout.queries, strict=True)):
            if kv is not None:
                qkv[slot, -2], qkv[slot, -1] = k[kv], v[kv]
            for place, head in enumerate(queries):
                if head is not None:
                    qkv[slot, place], out[:, slot, place] = q[head], o[:, head]
        gate, up = at["mlp.gate_proj.weight"], at["mlp.up_proj.weight"]
        block = math.gcd(FFN // tensor_parallel, 128)
        return {
            "runs.0.0.mixer.qkv": qkv,
            "runs.0.0.mixer.out": out.reshape(HIDDEN, -1),
            "runs.0.0.mixer_norm.weight": at["input_layernorm.weight"],
            "runs.0.0.ffn_norm.weight": at["post_attention_layernorm.weight"],
            "runs.0.0.ffn.gate_up": np.stack([rows.reshape(-1, block, HIDDEN) for rows in (gate, up)], axis=1),
            "runs.0.0.ffn.down": at["mlp.down_proj.weight"],
        }

    layers = [layer(i) for i in range(LAYERS)]
    stacked = {path: np.stack([each[path] for each in layers]) for path in layers[0]}
    return stacked | {
        "embedding.table": given["model.embed_tokens.weight"],
        "head.weight": given["lm_head.weight"],
        "final_norm.weight": given["model.norm.weight"],
    }


def write(directory: Path, given: Mapping[str, np.ndarray], shards: int = 1) -> Path:
    """A Hugging Face directory with one file, or several and an index."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "tokenizer.json").write_text("{}")
    if shards == 1:
        write_file(directory / "model.safetensors", given)
        return directory
    names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    weight_map = {tensor: names[i % shards] for i, tensor in enumerate(sorted(given))}  # q, k, v in different files
    for name in names:
        write_file(directory / name, {t: given[t] for t in given if weight_map[t] == name})
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return directory


def write_file(path: Path, given: Mapping[str, np.ndarray]) -> None:
    header, end = {}, 0
    for name, tensor in given.items():
        header[name] = {
            "dtype": NAMES[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + tensor.nbytes],
        }
        end += tensor.nbytes
    write_raw(path, json.dumps(header), [tensor.tobytes() for tensor in given.values()])


def write_raw(path: Path, header: str, data: Sequence[bytes]) -> None:
    path.write_bytes(len(header.encode()).to_bytes(8, "little") + header.encode() + b"".join(data))


def read_raw(path: Path) -> tuple[dict[str, dict[str, object]], bytes]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]
