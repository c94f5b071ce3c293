"""Random weights from shapes alone, made on the devices: for load_format="dummy", benchmarks and compile tests."""

from __future__ import annotations

import math
import zlib

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, UInt32

from jaxpaged.decoder.parameters import HasParameters
from jaxpaged.quant.scheme import Leaf, Scheme, Shape
from jaxpaged.sharding.rules import sharding_of


def dummy_leaves(decoder: HasParameters, mesh: Mesh, seed: int = 0) -> tuple[Array, ...]:
    """One array per leaf, so that weights have a standard deviation of 0.02; the same on every mesh."""
    leaves = []
    for weight in decoder.weights:
        for number, leaf in zip(weight.leaves, weight.scheme.leaves(weight.parameter), strict=True):
            info = decoder.params[number]
            make = jax.jit(_random, static_argnums=(0, 1, 2), out_shardings=sharding_of(mesh, info.axes))
            leaves.append(make(weight.scheme, leaf, info.shape, _leaf_seed(info.path, seed)))
    return tuple(leaves)


def _leaf_seed(path: str, seed: int) -> jax.Array:
    return jnp.asarray(zlib.crc32(f"{seed} {path}".encode()), jnp.uint32)


def _random(scheme: Scheme, leaf: Leaf, shape: Shape, seed: UInt32[Array, ""]) -> Array:
    """`shape`: the leaf's, with its layers."""
    bits = _hashed_index(shape, seed) >> jnp.uint32(8)
    noise = bits.astype(jnp.float32) * jnp.float32(2.0**-24) - jnp.float32(0.5)
    return scheme.dummy(leaf, noise)


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
    return jnp.bitwise_xor(x, x >> jnp.uint32(16))
