"""Random weights from shapes alone, made on the devices: for load_format="dummy", benchmarks and compile tests."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, UInt32

from jaxpaged.decoder.functional import ParamInfo
from jaxpaged.sharding.rules import sharding_of

STD = 0.02
LEVELS = 254  # int8 values from -127 to 127


def dummy_leaves(params: Sequence[ParamInfo], mesh: Mesh, seed: int = 0) -> tuple[Array, ...]:
    """One array per parameter, uniform with a standard deviation of 0.02; the same on every mesh."""
    make = partial(jax.jit, _random, static_argnums=0)
    return tuple(make(out_shardings=sharding_of(mesh, info.axes))(info, _leaf_seed(info.path, seed)) for info in params)


def _leaf_seed(path: str, seed: int) -> jax.Array:
    return jnp.uint32(zlib.crc32(f"{seed} {path}".encode()))


def _random(info: ParamInfo, seed: UInt32[Array, ""]) -> Array:
    if info.path.endswith(".scale"):  # of a quantized weight: integer values times this have the same deviation
        return jnp.full(info.shape, STD * math.sqrt(12.0) / LEVELS, info.dtype)
    bits = _hashed_index(info.shape, seed) >> jnp.uint32(8)
    unit = bits.astype(jnp.float32) * jnp.float32(2.0**-24) - jnp.float32(0.5)
    width = STD * math.sqrt(12.0) if jnp.issubdtype(info.dtype, jnp.floating) else LEVELS
    return (unit * jnp.float32(width)).astype(info.dtype)


def _hashed_index(shape: tuple[int, ...], seed: UInt32[Array, ""]) -> UInt32[Array, "..."]:
    # jax.random would take ten seconds for a gigabyte on two cores.
    index = jnp.full(shape, seed, jnp.uint32)
    for axis in range(len(shape)):
        stride = math.prod(shape[axis + 1 :]) % 2**32
        index += lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
    return _mix(index)


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """The finaliser of MurmurHash3 (Austin Appleby, public domain), a bijection on 32 bits."""
    x = (x ^ (x >> jnp.uint32(16))) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> jnp.uint32(13))) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> jnp.uint32(16))
