"""A quantized weight as a pytree: int8 values and one float32 scale per output channel."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int8

INT8_MAX = 127.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class QArray:
    """values * scale, where scale [*outputs] belongs to the leading axes of values [*outputs, *inputs]."""

    values: Int8[Array, "..."]
    scale: Float32[Array, "..."]


def quantize_weight(weight: Float[Array, "..."], inputs: int) -> QArray:
    """Symmetric int8 of a weight [*outputs, *inputs] whose last `inputs` axes are contracted: a scale per output."""
    axes = tuple(range(weight.ndim - inputs, weight.ndim))
    values, scale = _symmetric(weight, axes)
    return QArray(values, scale)


def quantize_rows(x: Float[Array, "t *inputs"]) -> tuple[Int8[Array, "t *inputs"], Float32[Array, "t"]]:
    """Symmetric int8 of activations, a scale per row, so that a row's result does not depend on the other rows."""
    return _symmetric(x, tuple(range(1, x.ndim)))


def _symmetric(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    x = x.astype(jnp.float32)
    largest = jnp.max(jnp.abs(x), axis=axes, keepdims=True)
    scale = jnp.where(largest > 0, largest / INT8_MAX, jnp.float32(1))  # rows of zeros stay zero
    return jnp.round(x / scale).astype(jnp.int8), jnp.squeeze(scale, axes)
