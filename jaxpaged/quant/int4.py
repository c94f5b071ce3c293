"""int4 weights in groups of 16 inputs with a float32 scale each, two values per byte, the even one in the low half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int8, UInt8

from jaxpaged.quant.plain import DUMMY_STD
from jaxpaged.quant.product import dot
from jaxpaged.quant.scheme import Leaf, PackedFormat, Parameter, Shape, SourceTensor

GROUP = 16
LARGEST = 7  # values from -7 to 7, stored as 1 to 15
OFFSET = 8
DUMMY_DEVIATION = 4.61  # of values that are uniform from -8 to 7


@dataclass(frozen=True, slots=True)
class PackedInt4:
    """In checkpoints: <name>.qweight, uint8 [..., inputs / 2], and <name>.scales, [..., inputs / GROUP]."""

    def tensors(self, shape: Shape) -> tuple[SourceTensor, ...]:
        *outputs, inputs = shape
        return (
            SourceTensor("qweight", (*outputs, inputs // 2), np.dtype(np.uint8)),
            SourceTensor("scales", (*outputs, inputs // GROUP)),
        )

    def planes(self, tensors: Sequence[Array], shape: Shape) -> tuple[Array, ...]:
        halves, scales = tensors
        return _values(halves), jnp.repeat(scales, GROUP, axis=-1)

    def pack(self, planes: Sequence[Array], parameter: Parameter) -> tuple[Array, ...]:
        values, scales = planes
        return _halves(values), scales[..., ::GROUP].astype(jnp.float32)


@dataclass(frozen=True, slots=True)
class Int4Scheme:
    """Leaves: halves [..., inputs / 2] and scales [..., inputs / GROUP]. Embedding and head keep their precision."""

    @property
    def packed(self) -> PackedFormat | None:
        return PackedInt4()

    def accepts(self, parameter: Parameter) -> bool:
        return parameter.role == "layer" and parameter.inputs == 1 and parameter.shape[-1] % GROUP == 0

    def leaves(self, parameter: Parameter) -> tuple[Leaf, ...]:
        *outputs, inputs = parameter.shape
        return (
            Leaf(".halves", (*outputs, inputs // 2), np.dtype(np.uint8), parameter.axes),
            Leaf(".group_scales", (*outputs, inputs // GROUP), np.dtype(np.float32), parameter.axes),
        )

    def pack(self, weight: Float[Array, "..."], parameter: Parameter) -> tuple[Array, ...]:
        groups = weight.astype(jnp.float32).reshape(*weight.shape[:-1], -1, GROUP)
        largest = jnp.max(jnp.abs(groups), axis=-1)
        scales = jnp.where(largest > 0, largest / LARGEST, jnp.float32(1))  # groups of zeros stay zero
        values = jnp.round(groups / scales[..., None]).astype(jnp.int8)
        return _halves(values.reshape(weight.shape)), scales

    def dummy(self, leaf: Leaf, noise: Float32[Array, "..."]) -> Array:
        if leaf.name == ".group_scales":
            return jnp.full(noise.shape, DUMMY_STD / DUMMY_DEVIATION, leaf.dtype)
        return ((noise + jnp.float32(0.5)) * 256).astype(jnp.uint8)

    def product(self, x: Float[Array, "t inputs"], leaves: Sequence[Array]) -> Float32[Array, "t ..."]:
        halves, scales = leaves
        weight = _values(halves).astype(jnp.float32) * jnp.repeat(scales, GROUP, axis=-1)
        return dot(x.astype(jnp.float32), weight, jnp.float32)


def _halves(values: Int8[Array, "... inputs"]) -> UInt8[Array, "... bytes"]:
    shifted = (values + OFFSET).astype(jnp.uint8)
    return shifted[..., ::2] | (shifted[..., 1::2] << 4)


def _values(halves: UInt8[Array, "... bytes"]) -> Int8[Array, "... inputs"]:
    both = jnp.stack([halves & 15, halves >> 4], axis=-1).astype(jnp.int8) - OFFSET
    return both.reshape(*halves.shape[:-1], -1)
