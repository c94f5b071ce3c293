"""Packed numbers come out as the gguf package says, also on a mesh, and through convert."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

from jaxpaged.config import ModelConfig
from jaxpaged.decoder.functional import FunctionalDecoder, build_decoder
from jaxpaged.gguf.header import read_header
from jaxpaged.gguf.kinds import PACKED
from jaxpaged.hub.model_directory import read_config, resolve_model
from jaxpaged.models.registry import find_architecture, spec_from_config
from jaxpaged.sharding.mesh import make_mesh
from jaxpaged.weights.convert import convert
from jaxpaged.weights.loader import load_weights
from tests.gguf import forward
from tests.weights import tiny_llama

WIDE = {**tiny_llama.CONFIG, "hidden_size": 64, "intermediate_size": 96, "head_dim": 8, "rope_theta": 10000.0}


def packed(kind: GGMLQuantizationType, rows: int, columns: int) -> np.ndarray:
    """Bytes of any content, but for the scales, which are float16 numbers somewhere among them."""
    block, nbytes = GGML_QUANT_SIZES[kind]
    noise = np.random.default_rng(int(kind)).integers(0, 256, (rows, columns // block * nbytes), np.uint8)
    return noise & np.uint8(0x3F)


@pytest.mark.parametrize("name", sorted(PACKED))
def test_a_packed_tensor(tmp_path: Path, name: str) -> None:
    kind = GGMLQuantizationType[name]
    data = packed(kind, 3, 512)
    file = forward.write(tmp_path / "model.gguf", {}, {"t.weight": (data, kind), "u.weight": np.float32([1])})
    tensor = read_header(file).tensors["t.weight"]
    assert tensor.shape == (3, 512)
    found = tensor.read()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, dequantize(data, kind))


def wide_tensors() -> dict[str, np.ndarray]:
    hidden, ffn, width = 64, 96, {"q": 64, "k": 16, "v": 16}
    shapes = {f"self_attn.{part}_proj": (rows, hidden) for part, rows in width.items()}
    shapes |= {"self_attn.o_proj": (hidden, 64), "mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden)}
    shapes |= {"mlp.down_proj": (hidden, ffn), "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,)}
    names = {f"model.layers.{i}.{name}.weight": shape for i in range(3) for name, shape in shapes.items()}
    names |= {"model.embed_tokens.weight": (tiny_llama.VOCAB, hidden), "lm_head.weight": (tiny_llama.VOCAB, hidden)}
    rng = np.random.default_rng(0)
    made = {name: rng.standard_normal(shape) for name, shape in {**names, "model.norm.weight": (hidden,)}.items()}
    return {name: tensor.astype(np.float32) for name, tensor in made.items()}


def write_packed(path: Path, kind: GGMLQuantizationType) -> Path:
    """A Llama whose matrices are packed."""
    tensors = {
        name: (quantize(np.ascontiguousarray(tensor), kind), kind) if tensor.ndim == 2 else tensor
        for name, tensor in forward.tensors_of(WIDE, wide_tensors()).items()
    }
    return forward.write(path, forward.metadata_of(WIDE), tensors)


def load(directory: Path, data: int, model: int) -> tuple[FunctionalDecoder, tuple[jax.Array, ...]]:
    config = read_config(directory)
    decoder = build_decoder(spec_from_config(config), dtype=np.dtype("float32"), tensor_parallel=model)
    rules, mesh = find_architecture(config).weights, make_mesh(model, data)
    return decoder, load_weights(directory, decoder, rules, mesh, progress=False)


def test_the_leaves_are_those_of_the_dequantized_checkpoint(tmp_path: Path) -> None:
    data, model = 2, 4
    kind = GGMLQuantizationType.Q8_0
    file = write_packed(tmp_path / "model.gguf", kind)
    found = resolve_model(ModelConfig(model=str(file), download_dir=str(tmp_path), skip_tokenizer_init=True))
    plain = {
        name: dequantize(quantize(tensor, kind), kind) if tensor.ndim == 2 else tensor
        for name, tensor in wide_tensors().items()
    }
    directory = tiny_llama.write(tmp_path / "plain", plain)
    (directory / "config.json").write_text(json.dumps(WIDE))
    decoder, leaves = load(found, data, model)
    for info, ours, theirs in zip(decoder.params, leaves, load(directory, data, model)[1], strict=True):
        assert ours.sharding == theirs.sharding
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), err_msg=info.path)
    convert(found, tmp_path / "converted", decoder, leaves)
    assert not (tmp_path / "converted" / "gguf.json").exists()
    for ours, again in zip(leaves, load(tmp_path / "converted", data, model)[1], strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(again))
