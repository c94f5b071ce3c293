"""Normalisation, in float32 whatever the model's precision."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxpaged.layers.param import param
from jaxpaged.models import spec


def rms_norm(x: Float[Array, "*rows d"], weight: Float[Array, "d"], norm: spec.RMSNorm) -> Float[Array, "*rows d"]:
    """x / sqrt(mean(x^2) + eps) * (offset + weight)."""
    wide = x.astype(jnp.float32)
    normed = wide * lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + norm.eps)
    return _affine(normed, norm.offset + weight.astype(jnp.float32)).astype(x.dtype)


def layer_norm(
    x: Float[Array, "*rows d"], weight: Float[Array, "d"], bias: Float[Array, "d"], norm: spec.LayerNorm
) -> Float[Array, "*rows d"]:
    """(x - mean) / sqrt(variance + eps) * weight + bias."""
    wide = x.astype(jnp.float32)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    normed = centred * lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + norm.eps)
    return _affine(normed, weight.astype(jnp.float32), bias.astype(jnp.float32)).astype(x.dtype)


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
