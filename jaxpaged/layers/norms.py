"""Normalisation, in float32 whatever the model's precision."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32

from jaxpaged.layers.linear import CPU_COLUMNS
from jaxpaged.layers.param import bias_of, param
from jaxpaged.models import spec
from jaxpaged.models.forms import EachHead

# XLA:CPU adds up fewer elements than that in another order; a program has eight rows at least.
SMALL = 4096
FEWEST_ROWS = 8


def rms_norm(
    x: Float[Array, "*rows d"], weight: Float[Array, "*heads d"] | None, norm: spec.RMSNorm
) -> Float[Array, "*rows d"]:
    """x / sqrt(mean(x^2) + eps) * (offset + weight), as far as it has one."""
    wide = x.astype(jnp.float32)
    normed = wide * lax.rsqrt(row_means(jnp.square(wide)) + norm.eps)
    if weight is None:
        return normed.astype(x.dtype)
    return _affine(normed, norm.offset + weight.astype(jnp.float32)).astype(x.dtype)


def layer_norm(
    x: Float[Array, "*rows d"],
    weight: Float[Array, "*heads d"] | None,
    bias: Float[Array, "*heads d"] | None,
    norm: spec.LayerNorm,
) -> Float[Array, "*rows d"]:
    """(x - mean) / sqrt(variance + eps) * (offset + weight) + bias."""
    wide = x.astype(jnp.float32)
    centred = wide - row_means(wide)
    normed = centred * lax.rsqrt(row_means(jnp.square(centred)) + norm.eps)
    weight, bias = (None if array is None else array.astype(jnp.float32) for array in (weight, bias))
    return _affine(normed, None if weight is None else norm.offset + weight, bias).astype(x.dtype)


def row_means(x: Float32[Array, "*rows d"]) -> Float32[Array, "*rows 1"]:
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


def _affine(x: Array, weight: Array | None, bias: Array | None = None) -> Array:
    scaled = x if weight is None else x * _lifted(weight, x.ndim)
    return scaled if bias is None else scaled + _lifted(bias, x.ndim)


def _lifted(array: Array, ndim: int) -> Array:
    """With so many axes, the new ones in front."""
    return array.reshape(*(1,) * (ndim - array.ndim), *array.shape)


def normed(norm: Callable[[Array], Array] | None, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """A norm that a part may lack: then the rows pass."""
    return x if norm is None else norm(x)


class Norm(nnx.Module):
    """A norm over the last axis, with its parameters. `heads`: they have a row for each head."""

    def __init__(self, part: spec.Norm, size: int, axis: str, dtype: DTypeLike, heads: EachHead | None = None) -> None:
        shape, axes = ((size,), (axis,)) if heads is None else ((heads.rows, size), ("kv_head", axis))
        has_bias = isinstance(part, spec.LayerNorm) and part.bias
        self.part = part
        self.weight = param(shape, axes, dtype, form=heads) if part.weight else None
        self.bias = param(shape, axes, dtype, form=heads) if has_bias else None

    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        match self.part:
            case spec.RMSNorm() as norm:
                return rms_norm(x, bias_of(self.weight), norm)
            case spec.LayerNorm() as norm:
                return layer_norm(x, bias_of(self.weight), bias_of(self.bias), norm)
