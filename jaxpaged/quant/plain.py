"""The scheme of what is not quantized: one array in the model's precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from jaxpaged.quant.product import product
from jaxpaged.quant.scheme import Leaf, PackedFormat, Parameter

DUMMY_STD = 0.02
DUMMY_WIDTH = DUMMY_STD * math.sqrt(12.0)  # of a uniform distribution with this deviation


@dataclass(frozen=True, slots=True)
class Plain:
    """Its one leaf goes to linear() as it is."""

    @property
    def packed(self) -> PackedFormat | None:
        return None

    def accepts(self, parameter: Parameter) -> bool:
        return True

    def leaves(self, parameter: Parameter) -> tuple[Leaf, ...]:
        return (Leaf("", parameter.shape, parameter.dtype, parameter.axes),)

    def pack(self, weight: Float[Array, "..."], parameter: Parameter) -> tuple[Array, ...]:
        return (weight.astype(parameter.dtype),)

    def dummy(self, leaf: Leaf, noise: Float32[Array, "..."]) -> Array:
        return jnp.multiply(noise, jnp.float32(DUMMY_WIDTH)).astype(leaf.dtype)

    def product(self, x: Float[Array, "t ..."], leaves: Sequence[Array]) -> Float32[Array, "t ..."]:
        return product(x, leaves[0])


PLAIN = Plain()
