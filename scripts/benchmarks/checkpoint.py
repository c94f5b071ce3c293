"""A Llama of SmolLM2-135M's shape with random weights, for every engine the same: Hugging Face's format and GGUF."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from benchmarks.tokenizer import SPECIAL, merges, save_tokenizer, vocabulary

LONGEST = 8448  # positions: prompts of 8k are measured
CONFIG = MappingProxyType(
    {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "vocab_size": 49152,
        "max_position_embeddings": LONGEST,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
)
# GGUF's names of a layer's tensors; q and k have their rotated halves interleaved there.
LAYER = MappingProxyType(
    {
        "input_layernorm": "attn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
)
HEADS = MappingProxyType({"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"})


def write_checkpoint(directory: Path, config: MappingProxyType[str, Any] = CONFIG, seed: int = 0) -> Path:
    """The directory, written where it is not there yet."""
    if not (directory / "config.json").exists():
        directory.mkdir(parents=True, exist_ok=True)
        save_tokenizer(directory, config["vocab_size"])
        tensors = {name: np.ascontiguousarray(values) for name, values in _tensors(config, seed)}
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        (directory / "config.json").write_text(json.dumps(dict(config), indent=1), encoding="utf-8")
    return directory


def _tensors(config: MappingProxyType[str, Any], seed: int) -> Iterator[tuple[str, np.ndarray]]:
    random = np.random.default_rng(seed)

    def weight(*shape: int, scale: float = 0.05) -> np.ndarray:
        values: np.ndarray = (random.standard_normal(shape, dtype=np.float32) * scale).astype(ml_dtypes.bfloat16)
        return values

    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = {
        "self_attn.q_proj": (query, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, query),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    ones = np.ones(hidden, ml_dtypes.bfloat16)
    yield (
        "model.embed_tokens.weight",
        weight(config["vocab_size"], hidden, scale=0.02),
    )  # smaller: else each token repeats itself
    yield "model.norm.weight", ones
    for layer in range(config["num_hidden_layers"]):
        for part in LAYER:
            yield f"model.layers.{layer}.{part}.weight", weight(*shapes[part]) if part in shapes else ones


def write_gguf(directory: Path) -> Path:
    """The checkpoint of `directory` as one GGUF file beside it, written where it is not there yet."""
    import gguf

    path = directory / "model.gguf"
    if path.exists():
        return path
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    beside = path.with_suffix(".part")
    writer = gguf.GGUFWriter(beside, "llama")
    _describe(writer, config)
    for name, values in load_file(directory / "model.safetensors").items():
        target, values = _for_gguf(name, values, config)
        if values.ndim == 1:
            writer.add_tensor(target, values.astype(np.float32))
        else:
            kind = gguf.GGMLQuantizationType.BF16
            writer.add_tensor(target, values.view(np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    beside.replace(path)
    return path


def _describe(writer: Any, config: dict[str, Any]) -> None:
    import gguf

    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    tokens = vocabulary(config["vocab_size"])
    writer.add_token_list(list(tokens))
    plain = [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    writer.add_token_types([*[gguf.TokenType.CONTROL] * len(SPECIAL), *plain])
    writer.add_token_merges([" ".join(pair) for pair in merges()])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)


def _for_gguf(name: str, values: np.ndarray, config: dict[str, Any]) -> tuple[str, np.ndarray]:
    top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in top:
        return top[name], values
    _, _, layer, *part, _ = name.split(".")
    part_name = ".".join(part)
    if part_name in HEADS:
        heads = config[HEADS[part_name]]
        values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
    return f"blk.{layer}.{LAYER[part_name]}.weight", values
