"""Reductions over one row of [n, v] whose result depends on that row alone, bit for bit.

A plain sum is added in an order that the compiler picks by the shape of the whole array. Here each of 128 columns is
added from top to bottom and the columns are added in halves, so the order is part of the program.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

LANES = 128


def pad_to(x: Float32[Array, "n v"], multiple: int, value: float) -> Float32[Array, "n w"]:
    """The rows lengthened with `value` to a multiple of `multiple`."""
    missing = -x.shape[1] % multiple
    return jnp.pad(x, ((0, 0), (0, missing)), constant_values=value) if missing else x


def columns(x: Float32[Array, "n v"]) -> Float32[Array, "n b lanes"]:
    """Token i of a row in column i % LANES, padded with zeros."""
    return pad_to(x, LANES, 0.0).reshape(x.shape[0], -1, LANES)


def column_sums(x: Float32[Array, "n v"]) -> Float32[Array, "n lanes"]:
    # The barriers keep neighbours from being fused in, which would change how the sum is compiled.
    return _barrier(jnp.sum(_barrier(columns(x)), axis=1))


def row_sum(x: Float32[Array, "n v"]) -> Float32[Array, " n"]:
    sums = column_sums(x)
    while sums.shape[1] > 1:
        half = sums.shape[1] // 2
        sums = sums[:, :half] + sums[:, half:]
    return _barrier(sums[:, 0])


def row_log(x: Float32[Array, " n"]) -> Float32[Array, " n"]:
    """log(x), in whole vectors: of n numbers the odd ones at the end would be rounded differently."""
    wide = _barrier(jnp.broadcast_to(x[:, None], (len(x), LANES)))
    return _barrier(jnp.log(wide))[:, 0]


def prefix_sum(x: Float32[Array, "n k"]) -> Float32[Array, "n k"]:
    return _barrier(jax.lax.cumsum(x, axis=1))


def count(mask: Bool[Array, "n v"]) -> Int32[Array, " n"]:
    return jnp.sum(mask.astype(jnp.int32), axis=1, dtype=jnp.int32)


def first_true(mask: Bool[Array, "n k"]) -> Int32[Array, " n"]:
    """Index of the first True of each row, k where there is none."""
    place = jax.lax.broadcasted_iota(jnp.int32, mask.shape, 1)
    return jnp.min(jnp.where(mask, place, mask.shape[1]), axis=1)


def first_equal(x: Float32[Array, "n v"], value: Float32[Array, " n"]) -> Int32[Array, " n"]:
    """Index of the first entry of each row equal to `value`, which is the row's maximum. Anything where there is none.

    Looks at the maxima of blocks, then into one block: an argmax over the row is 20 times slower on a CPU.
    """
    blocks = pad_to(x, LANES, -jnp.inf).reshape(x.shape[0], -1, LANES)
    block = jnp.minimum(first_true(jnp.max(blocks, axis=2) == value[:, None]), blocks.shape[1] - 1)
    inside = jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
    place = jnp.minimum(first_true(inside == value[:, None]), LANES - 1)
    return jnp.minimum(block * LANES + place, x.shape[1] - 1)


def at(x: Float32[Array, "n v"], index: Int32[Array, " n"]) -> Float32[Array, " n"]:
    """One entry of each row."""
    return jnp.take_along_axis(x, index[:, None], axis=1, mode="clip")[:, 0]


def _barrier(x: Array) -> Array:
    kept: Array = jax.lax.optimization_barrier(x)
    return kept
