"""MXFP4 experts as gpt-oss is published: the same leaves as from plain tensors of the same values."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxpaged.decoder.functional import build_decoder
from jaxpaged.errors import UnsupportedModelError, WeightError
from jaxpaged.models.registry import find_architecture, spec_from_config
from jaxpaged.sharding.mesh import make_mesh
from jaxpaged.weights.loader import check_weights, load_safetensors
from tests.models.case import load_golden, make_weights
from tests.models.cases import CASE

EXPERTS, BLOCKS = 3, 2
CONFIG = {
    **CASE["gpt_oss"].config,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_local_experts": EXPERTS,
    "vocab_size": 64,
}
PACKED = {**CONFIG, "quantization_config": {"quant_method": "mxfp4"}}
# The table of the OCP microscaling specification: sign, two bits of exponent, one of mantissa.
E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]


def checkpoints() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The tensors with packed experts, and with plain ones of the same values."""
    rng = np.random.default_rng(0)
    golden = load_golden(CASE["gpt_oss"])
    sizes = {48: 64, 40: 64, 80: 128, 5: EXPERTS, 131: 64}
    shapes = {
        name: tuple(sizes.get(size, size) for size in shape)
        for name, shape in golden.tensors.items()
        if ".layers.1." not in name
    }
    packed = make_weights(CASE["gpt_oss"], shapes)
    plain = dict(packed)
    for name in [name for name in shapes if name.endswith(("gate_up_proj", "down_proj"))]:
        rows = shapes[name][2]
        blocks = rng.integers(0, 256, (EXPERTS, rows, BLOCKS, 16), np.uint8)
        scales = rng.integers(120, 130, (EXPERTS, rows, BLOCKS), np.uint8)
        values = np.zeros((EXPERTS, rows, BLOCKS, 32))
        for i in range(16):
            values[..., 2 * i] = np.asarray(E2M1)[blocks[..., i] % 16]
            values[..., 2 * i + 1] = np.asarray(E2M1)[blocks[..., i] // 16]
        values *= 2.0 ** (scales.astype(int) - 127)[..., None]
        plain[name] = values.reshape(EXPERTS, rows, -1).transpose(0, 2, 1).astype(np.float32)
        del packed[name]
        packed |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
    return packed, {name: np.ascontiguousarray(array) for name, array in plain.items()}


def load(directory: Path, tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    directory.mkdir()
    save_file(tensors, directory / "model.safetensors")
    decoder, rules = build_decoder(spec_from_config(PACKED), dtype=jnp.float32), find_architecture(PACKED).weights
    mesh = make_mesh(1)
    assert check_weights(directory, decoder, rules, mesh)[0] == len(checkpoints()[1])
    return [np.asarray(leaf) for leaf in load_safetensors(directory, decoder, rules, mesh, progress=False)]


def test_packed_experts_are_those_of_their_values(tmp_path: Path) -> None:
    packed, plain = checkpoints()
    for got, want in zip(load(tmp_path / "packed", packed), load(tmp_path / "plain", plain), strict=True):
        np.testing.assert_array_equal(got, want)


def test_half_a_pair_is_named(tmp_path: Path) -> None:
    packed, _ = checkpoints()
    del packed["model.layers.0.mlp.experts.down_proj_scales"]
    with pytest.raises(WeightError, match=r"missing \(model.layers.0.mlp.experts.down_proj\).*down_proj_blocks"):
        load(tmp_path / "half", packed)


def test_other_families_are_not_read_so() -> None:
    config = {**CASE["llama"].config, "quantization_config": {"quant_method": "mxfp4"}}
    with pytest.raises(UnsupportedModelError, match="quantized with mxfp4, which is not read yet"):
        spec_from_config(config)
