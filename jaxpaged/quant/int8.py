"""int8 weights with a float32 scale per output channel, times int8 activations with a dynamic scale per token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int8

from jaxpaged.quant.plain import DUMMY_WIDTH
from jaxpaged.quant.product import dot
from jaxpaged.quant.scheme import Leaf, PackedFormat, Parameter, QuantizedWeight

MAX = 127.0
DUMMY_LEVELS = 254  # values from -127 to 127


@dataclass(frozen=True, slots=True)
class Int8Scheme:
    """Leaves: values [*outputs, *inputs] and scale [*outputs]. Embedding and head keep the model's precision."""

    @property
    def packed(self) -> PackedFormat | None:
        return None

    def accepts(self, parameter: Parameter) -> bool:
        return parameter.role == "layer"

    def leaves(self, parameter: Parameter) -> tuple[Leaf, ...]:
        shape, axes = parameter.shape, parameter.axes
        outputs = slice(len(shape) - parameter.inputs)
        return (
            Leaf(".values", shape, np.dtype(np.int8), axes),
            Leaf(".scale", shape[outputs], np.dtype(np.float32), axes[outputs]),
        )

    def pack(self, weight: Float[Array, "..."], parameter: Parameter) -> tuple[Array, ...]:
        return _symmetric(weight, tuple(range(weight.ndim - parameter.inputs, weight.ndim)))

    def dummy(self, leaf: Leaf, noise: Float32[Array, "..."]) -> Array:
        if leaf.name == ".scale":
            return jnp.full(noise.shape, DUMMY_WIDTH / DUMMY_LEVELS, leaf.dtype)
        return jnp.multiply(noise, jnp.float32(DUMMY_LEVELS)).astype(leaf.dtype)

    def product(self, x: Float[Array, "t ..."], leaves: Sequence[Array]) -> Float32[Array, "t ..."]:
        """int8 x int8 -> int32, then the two scales: one per row of x, one per output of w."""
        weight, scale = leaves
        rows, row_scale = quantize_rows(x)
        products = dot(rows, weight, jnp.int32).astype(jnp.float32)
        return products * row_scale.reshape(-1, *[1] * scale.ndim) * scale[None]


def quantize_weight(weight: Float[Array, "..."], inputs: int) -> QuantizedWeight:
    """Symmetric int8 of a weight [*outputs, *inputs] whose last `inputs` axes are contracted: a scale per output."""
    scheme = Int8Scheme()
    parameter = Parameter(weight.shape, (None,) * weight.ndim, np.dtype(weight.dtype), inputs)
    return QuantizedWeight(scheme.pack(weight, parameter), scheme)


def quantize_rows(x: Float[Array, "t *inputs"]) -> tuple[Int8[Array, "t *inputs"], Float32[Array, "t"]]:
    """Symmetric int8 of activations, a scale per row, so that a row's result does not depend on the other rows."""
    return _symmetric(x, tuple(range(1, x.ndim)))


def _symmetric(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    x = x.astype(jnp.float32)
    largest = jnp.max(jnp.abs(x), axis=axes, keepdims=True)
    scale = jnp.where(largest > 0, largest / MAX, jnp.float32(1))  # rows of zeros stay zero
    return jnp.round(x / scale).astype(jnp.int8), jnp.squeeze(scale, axes)
