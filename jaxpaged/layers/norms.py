"""Normalisation, in float32 whatever the model's precision."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32

from jaxpaged.layers.linear import CPU_COLUMNS
from jaxpaged.layers.param import bias_of, param
from jaxpaged.models import spec

# XLA:CPU adds up fewer elements than that in another order; a program has eight rows at least.
SMALL = 4096
FEWEST_ROWS = 8


def rms_norm(
    x: Float[Array, "*rows d"], weight: Float[Array, "d"] | None, norm: spec.RMSNorm
) -> Float[Array, "*rows d"]:
    """x / sqrt(mean(x^2) + eps) * (offset + weight), as far as it has one."""
    wide = x.astype(jnp.float32)
    normed = wide * lax.rsqrt(_row_means(jnp.square(wide)) + norm.eps)
    if weight is None:
        return normed.astype(x.dtype)
    return _affine(normed, norm.offset + weight.astype(jnp.float32)).astype(x.dtype)


def layer_norm(
    x: Float[Array, "*rows d"], weight: Float[Array, "d"], bias: Float[Array, "d"], norm: spec.LayerNorm
) -> Float[Array, "*rows d"]:
    """(x - mean) / sqrt(variance + eps) * (offset + weight) + bias."""
    wide = x.astype(jnp.float32)
    centred = wide - _row_means(wide)
    normed = centred * lax.rsqrt(_row_means(jnp.square(centred)) + norm.eps)
    return _affine(normed, norm.offset + weight.astype(jnp.float32), bias.astype(jnp.float32)).astype(x.dtype)


def _row_means(x: Float32[Array, "*rows d"]) -> Float32[Array, "*rows 1"]:
    """The mean over the last axis; a row's does not depend on how many rows there are (from FEWEST_ROWS up)."""
    if x.shape[-1] * FEWEST_ROWS >= SMALL:
        return _mean(x)
    return lax.platform_dependent(x, cpu=_mean_by_product, default=_mean)


def _mean(x: Float32[Array, "*rows d"]) -> Float32[Array, "*rows 1"]:
    return jnp.mean(x, axis=-1, keepdims=True)


def _mean_by_product(x: Float32[Array, "*rows d"]) -> Float32[Array, "*rows 1"]:
    """On a CPU the rows of a product are always added up in the same order."""
    size = x.shape[-1]
    ones = jnp.ones((CPU_COLUMNS, size), jnp.float32)
    sums = lax.dot_general(x.reshape(-1, size), ones, (((1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST)
    return sums[:, :1].reshape(*x.shape[:-1], 1) / size


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
        has_weight = not isinstance(part, spec.RMSNorm) or part.weight
        self.weight = param((size,), (axis,), dtype) if has_weight else None
        if isinstance(part, spec.LayerNorm):
            self.bias = param((size,), (axis,), dtype)

    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        match self.part:
            case spec.RMSNorm() as norm:
                return rms_norm(x, bias_of(self.weight), norm)
            case spec.LayerNorm() as norm:
                assert self.weight is not None
                return layer_norm(x, self.weight.get_value(), self.bias.get_value(), norm)
