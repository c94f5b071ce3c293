"""Arithmetic whose result for a row depends on nothing else in the batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

MIN_ROWS = 2


def pad_rows(x: jax.Array) -> jax.Array:
    """[b, m, d] with zero rows below, if need be, so that there are MIN_ROWS."""
    return jnp.pad(x, ((0, 0), (0, MIN_ROWS - x.shape[1]), (0, 0))) if x.shape[1] < MIN_ROWS else x


def dot_nt(x: jax.Array, y: jax.Array) -> jax.Array:
    """[b, m, d] x [b, n, d] -> float32 [b, m, n]."""
    return lax.dot_general(x, y, (((2,), (2,)), ((0,), (0,))), preferred_element_type=jnp.float32)


def dot_values(p: jax.Array, values: jax.Array) -> jax.Array:
    """[b, m, n] x [b, n, d] -> float32 [b, m, d]."""
    if values.dtype == jnp.bfloat16:
        return lax.dot_general(p, values, (((2,), (1,)), ((0,), (0,))), preferred_element_type=jnp.float32)
    return dot_nt(p, lax.optimization_barrier(values.swapaxes(1, 2)))


def row_sums(p: jax.Array) -> jax.Array:
    """float32 [b, m, n] -> [b, m], as a product of two matrices because that is independent of the shape.

    Flat, because without AVX-512 XLA:CPU adds up the rows of a three-dimensional operand in an order that follows m.
    """
    rows = p.reshape(-1, p.shape[2])
    ones = jnp.ones((8, p.shape[2]), p.dtype)
    sums = lax.dot_general(rows, ones, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
    return sums[:, 0].reshape(p.shape[:2])


def power_of_two(exponent: jax.Array) -> jax.Array:
    """2 ** exponent, exactly, for integral exponent <= 0; 0 below the normal numbers."""
    bits = (jnp.maximum(exponent, -127.0).astype(jnp.int32) + 127) << 23
    return lax.bitcast_convert_type(bits, jnp.float32)
