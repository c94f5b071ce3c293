"""Normalisation, in float32 whatever the model's precision."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32

from jaxpaged.layers.param import param
from jaxpaged.models import spec

CPU_COLUMNS = 8  # a product with fewer columns takes another path


def rms_norm(x: Float[Array, "*rows d"], weight: Float[Array, "d"], norm: spec.RMSNorm) -> Float[Array, "*rows d"]:
    """x / sqrt(mean(x^2) + eps) * (offset + weight)."""
    wide = x.astype(jnp.float32)
    # XLA:CPU adds up squares of bfloat16 in one order, and faster than by a product.
    means = (
        jnp.mean(jnp.square(wide), axis=-1, keepdims=True) if x.dtype == jnp.bfloat16 else _row_means(jnp.square(wide))
    )
    normed = wide * lax.rsqrt(means + norm.eps)
    return _affine(normed, norm.offset + weight.astype(jnp.float32)).astype(x.dtype)


def layer_norm(
    x: Float[Array, "*rows d"], weight: Float[Array, "d"], bias: Float[Array, "d"], norm: spec.LayerNorm
) -> Float[Array, "*rows d"]:
    """(x - mean) / sqrt(variance + eps) * weight + bias."""
    wide = x.astype(jnp.float32)
    centred = wide - _row_means(wide)
    normed = centred * lax.rsqrt(_row_means(jnp.square(centred)) + norm.eps)
    return _affine(normed, weight.astype(jnp.float32), bias.astype(jnp.float32)).astype(x.dtype)


def _row_means(x: Float32[Array, "*rows d"]) -> Float32[Array, "*rows 1"]:
    """The mean over the last axis; a row's does not depend on how many rows there are.

    XLA:CPU adds up small arrays in another order than large ones, but the rows of a product always in the same.
    """
    size = x.shape[-1]

    def by_product(x: Array) -> Array:
        ones = jnp.ones((CPU_COLUMNS, size), jnp.float32)
        sums = lax.dot_general(x.reshape(-1, size), ones, (((1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST)
        return sums[:, :1].reshape(*x.shape[:-1], 1) / size

    return lax.platform_dependent(x, cpu=by_product, default=lambda x: jnp.mean(x, axis=-1, keepdims=True))


def _affine(x: Array, weight: Array, bias: Array | None = None) -> Array:
    lead = (1,) * (x.ndim - 1)
    scaled = x * weight.reshape(*lead, -1)
    return scaled if bias is None else scaled + bias.reshape(*lead, -1)


def normed(norm: Norm | None, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """A norm that a part may lack: then the rows pass."""
    return x if norm is None else norm(x)


class Norm(nnx.Module):
    """A norm over the last axis, with its parameters."""

    def __init__(self, part: spec.Norm, size: int, axis: str, dtype: DTypeLike) -> None:
        self.part = part
        self.weight = param((size,), (axis,), dtype)
        if isinstance(part, spec.LayerNorm):
            self.bias = param((size,), (axis,), dtype)

    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        match self.part:
            case spec.RMSNorm() as norm:
                return rms_norm(x, self.weight.get_value(), norm)
            case spec.LayerNorm() as norm:
                return layer_norm(x, self.weight.get_value(), self.bias.get_value(), norm)
