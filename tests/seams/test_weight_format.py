"""A new weight format is one object: a toy of symmetric int4 in groups goes through all that a weight goes through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from jaxpaged.decoder.functional import FunctionalDecoder, build_decoder
from jaxpaged.errors import ConfigError, WeightError
from jaxpaged.quant.plain import DUMMY_STD
from jaxpaged.quant.product import dot
from jaxpaged.quant.scheme import Leaf, Parameter, Shape, SourceTensor
from jaxpaged.sharding.mesh import make_mesh
from jaxpaged.sharding.rules import sharding_of
from jaxpaged.weights.convert import convert
from jaxpaged.weights.loader import load_weights
from jaxpaged.weights.update import update_weights
from tests.models import dense
from tests.weights import tiny_llama
from tests.weights.tiny_llama import Tensors

MAX, OFFSET = 7, 8  # values from -7 to 7, stored as 1 to 15
TOKENS = np.arange(20) * 7 % tiny_llama.VOCAB
UP = "model.layers.1.mlp.up_proj"


@dataclass(frozen=True)
class PackedInt4:
    """<name>.qweight, uint8 [out, in / 2], low half first, and <name>.scales, [out, in / group]."""

    group: int

    def tensors(self, shape: Shape) -> tuple[SourceTensor, ...]:
        *lead, inputs = shape
        return (
            SourceTensor("qweight", (*lead, inputs // 2), np.dtype(np.uint8)),
            SourceTensor("scales", (*lead, inputs // self.group)),
        )

    def planes(self, tensors: Sequence[Array], shape: Shape) -> tuple[Array, ...]:
        halves, scales = tensors
        return unpacked(halves), jnp.repeat(scales, self.group, axis=-1)

    def pack(self, planes: Sequence[Array], parameter: Parameter) -> tuple[Array, ...]:
        values, scale = planes
        return packed(values), scale.reshape(*scale.shape[:-1], -1, self.group).max(-1)


@dataclass(frozen=True)
class Int4:
    group: int = 4

    @property
    def packed(self) -> PackedInt4:
        return PackedInt4(self.group)

    def accepts(self, parameter: Parameter) -> bool:
        return parameter.role == "layer" and parameter.shape[-1] % self.group == 0

    def leaves(self, parameter: Parameter) -> tuple[Leaf, ...]:
        *lead, inputs = parameter.shape
        return (
            Leaf(".int4", (*lead, inputs // 2), np.dtype(np.uint8), parameter.axes),
            Leaf(".group_scale", (*lead, inputs // self.group), np.dtype(np.float32), parameter.axes),
        )

    def pack(self, weight: Array, parameter: Parameter) -> tuple[Array, ...]:
        groups = weight.astype(jnp.float32).reshape(*weight.shape[:-1], -1, self.group)
        largest = jnp.abs(groups).max(-1)
        scale = jnp.where(largest > 0, largest / MAX, 1.0)
        values = jnp.round(groups / scale[..., None]).astype(jnp.int8)
        return packed(values.reshape(weight.shape)), scale

    def dummy(self, leaf: Leaf, noise: Array) -> Array:
        if leaf.name == ".group_scale":
            return jnp.full(noise.shape, DUMMY_STD / 4.6, leaf.dtype)  # 4.6: the deviation of -8 to 7
        return ((noise + 0.5) * 256).astype(jnp.uint8)

    def product(self, x: Array, leaves: Sequence[Array]) -> Array:
        halves, scale = leaves
        weight = unpacked(halves).astype(jnp.float32) * jnp.repeat(scale, self.group, axis=-1)
        return dot(x.astype(jnp.float32), weight, jnp.float32)


def packed(values: Array) -> Array:
    shifted = (values + OFFSET).astype(jnp.uint8)
    return shifted[..., ::2] | (shifted[..., 1::2] << 4)


def unpacked(halves: Array) -> Array:
    both = jnp.stack([halves & 15, halves >> 4], axis=-1).astype(jnp.int8) - OFFSET
    return both.reshape(*halves.shape[:-1], -1)


def decoder(model: int = 1, layer_loop: str = "scan", scheme: Int4 | None = Int4()) -> FunctionalDecoder:
    spec = tiny_llama.decoder().spec
    return build_decoder(spec, dtype=np.float32, tensor_parallel=model, layer_loop=layer_loop, scheme=scheme)  # type: ignore[arg-type]


def checkpoints(seed: int = 0, group: int = 4) -> tuple[Tensors, Tensors]:
    """A checkpoint with packed matrices in its layers, in plain numpy, and the floats that it stands for."""
    own: Tensors = {}
    floats: Tensors = {}
    for name, tensor in tiny_llama.tensors(seed=seed).items():
        if "layers" not in name or tensor.ndim < 2:
            own[name] = floats[name] = tensor
            continue
        groups = tensor.reshape(len(tensor), -1, group)
        scale = np.abs(groups).max(-1) / np.float32(MAX)
        values = np.rint(groups / scale[..., None]).reshape(tensor.shape).astype(np.int64)
        base = name.removesuffix(".weight")
        own[f"{base}.qweight"] = ((values[:, ::2] + 8) + 16 * (values[:, 1::2] + 8)).astype(np.uint8)
        own[f"{base}.scales"] = scale
        floats[name] = (values * np.repeat(scale, group, axis=1)).astype(np.float32)
    return own, floats


def load(directory: Path, decoder: FunctionalDecoder, model: int = 1) -> tuple[Array, ...]:
    return load_weights(directory, decoder, tiny_llama.RULES, make_mesh(model), progress=False)


def assert_answers(decoder: FunctionalDecoder, leaves: tuple[Array, ...], floats: Tensors) -> None:
    """The logits of the floats, by the decoder without a scheme."""
    plain = tiny_llama.decoder()
    expected = dense.run(plain, dense.assemble(tiny_llama.RULES, plain, floats), TOKENS)
    found = dense.run(decoder, leaves, TOKENS)[:, : expected.shape[1]]
    real = np.isfinite(expected)
    np.testing.assert_allclose(found[:, : real.shape[1]][real], expected[real], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("source", ["packed", "float"])
@pytest.mark.parametrize(("model", "layer_loop"), [(1, "switch"), (2, "scan")])
def test_it_answers_as_the_floats_that_it_stands_for(tmp_path: Path, source: str, model: int, layer_loop: str) -> None:
    own, floats = checkpoints()
    mine = decoder(model, layer_loop)
    leaves = load(tiny_llama.write(tmp_path, own if source == "packed" else floats, 3), mine, model)
    for info, leaf in zip(mine.params, leaves, strict=True):
        assert leaf.sharding == sharding_of(make_mesh(model), info.axes)
    assert sum(info.path.endswith(".int4") for info in mine.params) == 4 * (1 if layer_loop == "scan" else 3)
    assert_answers(mine, leaves, floats)


def test_conversion_keeps_it_and_updates_replace_it(tmp_path: Path) -> None:
    mine, mesh = decoder(2), make_mesh(2)
    leaves = load(tiny_llama.write(tmp_path / "hf", checkpoints()[0]), mine, 2)
    convert(tmp_path / "hf", tmp_path / "converted", mine, leaves)
    again = load(tmp_path / "converted", mine, 2)
    for want, got in zip(leaves, again, strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want))
    with pytest.raises(WeightError, match=r"holds runs\.0\.0\.ffn\.down as None"):
        load(tmp_path / "converted", decoder(2, scheme=None), 2)
    own, floats = checkpoints(seed=1)
    packed = update_weights(again, own, mine, tiny_llama.RULES, mesh)
    assert_answers(mine, packed, floats)
    _, floats = checkpoints(seed=2)
    assert_answers(mine, update_weights(packed, floats, mine, tiny_llama.RULES, mesh), floats)


def test_what_is_wrong_with_its_tensors_is_named(tmp_path: Path) -> None:
    own, _ = checkpoints()
    del own[f"{UP}.scales"]
    with pytest.raises(WeightError, match=rf"1 tensor missing \({UP}\.scales\)"):
        load(tiny_llama.write(tmp_path, own), decoder())
    own, _ = checkpoints()
    own[f"{UP}.qweight"] = own[f"{UP}.qweight"].astype(np.int32)
    with pytest.raises(WeightError, match=rf"1 tensor of another type \({UP}\.qweight: int32 instead of uint8\)"):
        load(tiny_llama.write(tmp_path, own), decoder())
    own, _ = checkpoints()
    own[f"{UP}.scales"][3, 1] = np.nan
    with pytest.raises(WeightError, match=rf"NaN or infinity in {UP}\.scales"):
        load(tiny_llama.write(tmp_path, own), decoder())
    with pytest.raises(WeightError, match=rf"unexpected \(.*{UP.replace('1', '0', 1)}\.qweight"):
        load(tiny_llama.write(tmp_path, checkpoints()[0]), decoder(scheme=None))


def test_a_mesh_that_would_cut_a_group_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ffn\.down\.group_scale: its ffn axis of 3 cannot be cut into 2"):
        load(tmp_path, decoder(2, scheme=Int4(group=16)), 2)


def test_dummy_weights_have_the_deviation_of_others(tmp_path: Path) -> None:
    mine = decoder()
    leaves = load_weights(tmp_path, mine, tiny_llama.RULES, make_mesh(1), load_format="dummy")
    by_path = {info.path: leaf for info, leaf in zip(mine.params, leaves, strict=True)}
    scale = np.repeat(by_path["runs.0.0.ffn.gate_up.group_scale"], 4, axis=-1)
    weight = np.asarray(unpacked(by_path["runs.0.0.ffn.gate_up.int4"]), np.float32) * scale
    assert abs(weight.std() - DUMMY_STD) < 2e-3
