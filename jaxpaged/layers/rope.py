"""Rotary positions (arXiv 2104.09864) and their ways to reach beyond the trained length."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32

from jaxpaged.models.rope import DynamicScaling, LinearScaling, Llama3Scaling, LongRopeScaling, Rope, YarnScaling

Frequencies = np.ndarray  # float32 [dim / 2], radians per position


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class Rotation:
    """Cosine and sine of every token's angles."""

    cos: Float32[Array, "t half"]
    sin: Float32[Array, "t half"]


def rotation(rope: Rope, positions: Int32[Array, "t"], max_position: int) -> Rotation:
    """The angles of tokens at `positions` in a model served at `max_position` tokens."""
    frequencies, magnitude = frequencies_of(rope, max_position)
    angles = positions.astype(jnp.float32)[:, None] * jnp.asarray(frequencies)[None, :]
    return Rotation(jnp.cos(angles) * magnitude, jnp.sin(angles) * magnitude)


def rotate(x: Float[Array, "t h d"], by: Rotation, rope: Rope) -> Float[Array, "t h d"]:
    """Rotate the pairs of the first rope.dim dimensions of each head; the others pass."""
    part = x[..., : rope.dim].astype(jnp.float32)
    if rope.pairs == "halves":
        a, b = jnp.split(part, 2, axis=-1)
    else:
        a, b = part[..., 0::2], part[..., 1::2]
    cos, sin = by.cos[:, None, :], by.sin[:, None, :]
    turned = (a * cos - b * sin, b * cos + a * sin)
    joined = jnp.concatenate(turned, axis=-1) if rope.pairs == "halves" else jnp.stack(turned, axis=-1)
    return jnp.concatenate([joined.reshape(part.shape).astype(x.dtype), x[..., rope.dim :]], axis=-1)


def frequencies_of(rope: Rope, max_position: int) -> tuple[Frequencies, float]:
    """The frequencies, and the factor that cosine and sine are multiplied by."""
    match rope.scaling:
        case None:
            return _frequencies(rope.theta, rope.dim), 1.0
        case LinearScaling(factor):
            return _frequencies(rope.theta, rope.dim) / np.float32(factor), 1.0
        case DynamicScaling() as scaling:
            return _frequencies(_dynamic_theta(rope, scaling, max_position), rope.dim), 1.0
        case YarnScaling() as scaling:
            return _yarn(rope, scaling), scaling.attention_factor
        case Llama3Scaling() as scaling:
            return _llama3(_frequencies(rope.theta, rope.dim), scaling), 1.0
        case LongRopeScaling() as scaling:
            long = max_position > scaling.original_max_position
            factors = np.asarray(scaling.long_factor if long else scaling.short_factor, np.float32)
            return np.float32(1) / (factors * _powers(rope.theta, rope.dim)), scaling.attention_factor


def _powers(theta: float, dim: int) -> Frequencies:
    # Step by step in float32, as the models were trained: the rounding matters at far positions.
    return np.float32(theta) ** (np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim))


def _frequencies(theta: float, dim: int) -> Frequencies:
    return np.float32(1) / _powers(theta, dim)


def _dynamic_theta(rope: Rope, scaling: DynamicScaling, max_position: int) -> float:
    length = max(max_position, scaling.original_max_position)
    stretch = scaling.factor * length / scaling.original_max_position - (scaling.factor - 1)
    return rope.theta * stretch ** (rope.dim / (rope.dim - 2))


def _yarn(rope: Rope, scaling: YarnScaling) -> Frequencies:
    def dimension(rotations: float) -> float:
        """The dimension that turns so many times within the original context."""
        turns = scaling.original_max_position / (rotations * 2 * math.pi)
        return rope.dim * math.log(turns) / (2 * math.log(rope.theta))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.dim - 1)
    width = high - low or 0.001
    ramp = np.clip((np.arange(rope.dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(width), 0, 1)
    kept = _frequencies(rope.theta, rope.dim)
    interpolated = np.float32(1) / (np.float32(scaling.factor) * _powers(rope.theta, rope.dim))
    return interpolated * ramp + kept * (np.float32(1) - ramp)


def _llama3(frequencies: Frequencies, scaling: Llama3Scaling) -> Frequencies:
    wavelengths = np.float32(2 * math.pi) / frequencies
    longest = scaling.original_max_position / scaling.low_freq_factor
    shortest = scaling.original_max_position / scaling.high_freq_factor
    smooth = scaling.original_max_position / wavelengths - np.float32(scaling.low_freq_factor)
    between = scaling.high_freq_factor - scaling.low_freq_factor or 1.0  # equal: nothing lies between
    smooth = smooth / np.float32(between)
    divided = frequencies / np.float32(scaling.factor)
    blended = (np.float32(1) - smooth) * divided + smooth * frequencies
    outside = np.where(wavelengths > longest, divided, frequencies)
    medium = (wavelengths >= shortest) & (wavelengths <= longest)
    return np.where(medium, blended, outside)
