"""Sorted rows in tiles of one group each, so that only groups with rows cost anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

SMALLEST, LARGEST = 8, 64  # rows of a tile


class Tiles(NamedTuple):
    """Tile i < used: rows start[i] .. start[i] + tile of group[i]; its rows past the group's end are another's."""

    group: jax.Array
    start: jax.Array
    used: jax.Array


def tile_rows(rows: int, groups: int) -> int:
    """Rows of a tile: a power of two near a group's mean share. It follows the bucket, never what is in the batch."""
    size = SMALLEST
    while size < LARGEST and size * groups < rows:
        size *= 2
    return size


def find_tiles(sizes: jax.Array, rows: int, tile: int) -> Tiles:
    """The tiles of groups of `sizes` [g] rows, one behind the other, in order; at most `rows` rows in all."""
    most = min(len(sizes), rows) + rows // tile
    needed = (sizes + tile - 1) // tile
    ends = jnp.cumsum(needed)
    index = jnp.arange(most, dtype=jnp.int32)
    group = jnp.minimum(jnp.searchsorted(ends, index, side="right"), len(sizes) - 1).astype(jnp.int32)
    first_row, first_tile = jnp.cumsum(sizes) - sizes, ends - needed
    return Tiles(group, first_row[group] + (index - first_tile[group]) * tile, ends[-1])


def by_tiles(
    x: jax.Array, sizes: jax.Array, multiply: Callable[[jax.Array, jax.Array], jax.Array], tile: int
) -> jax.Array:
    """multiply(rows [tile, *k], group) -> [tile, *n] for each tile of x [m, *k]: [m, *n].

    sizes: int32 [g], the rows of each group. Rows behind the last group come back without meaning, but finite where
    x is. What a row gives depends on itself and on its group only, as far as `multiply` keeps to that.
    """
    tiles = find_tiles(sizes, len(x), tile)
    padded = jnp.pad(x, [(0, tile), *[(0, 0)] * (x.ndim - 1)])
    made = jax.eval_shape(multiply, padded[:tile], tiles.group[0])
    out = jnp.zeros((len(padded), *made.shape[1:]), made.dtype)

    def step(i: jax.Array, out: jax.Array) -> jax.Array:
        start = tiles.start[i]
        rows = lax.dynamic_slice_in_dim(padded, start, tile)
        # In order, so that a later tile puts right what this one writes past its group's end.
        return lax.dynamic_update_slice_in_dim(out, multiply(rows, tiles.group[i]), start, 0)

    return lax.fori_loop(0, tiles.used, step, out)[: len(x)]
