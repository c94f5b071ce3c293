"""What the producer and the consumers of the Hopper kernel for chunks share: sizes, work items, SMEM and barriers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention.mosaic_gpu.tiles import Pages, swizzled
from pallas_kernels.paged_attention.score import ScoreMod

CONSUMERS, ROWS = 2, 64  # warpgroups, rows of each
TILE_ROWS = CONSUMERS * ROWS
ALIGNED_ROWS = 8  # of a swizzled tile, which TMA copies whole


@dataclass(frozen=True)
class ChunkShape:
    """Static sizes. width: columns of values that one product makes."""

    head_dim: int
    width: int
    stages: int
    blocks: int
    weights_in_registers: bool
    pages: Pages


class Tiles(NamedTuple):
    """The items that there are, longest first, Int32[n] each; `real` Int32[1]: how many of the n there are.

    start: the item's first row. stop: the end of its sequence's rows, padded; both are multiples of ALIGNED_ROWS.
    begin, end: keys that any row of the item sees. whole: the keys up to here are seen by all.
    """

    sequence: jax.Array
    start: jax.Array
    stop: jax.Array
    begin: jax.Array
    end: jax.Array
    whole: jax.Array
    real: jax.Array


class Rows(NamedTuple):
    """What is known of each of r rows: position Int32[r]; slope, sink: float32 [hkv, r]."""

    position: jax.Array
    slope: jax.Array | None
    sink: jax.Array | None


class Buffers(NamedTuple):
    """SMEM and barriers of a block. *_full: a copy has arrived; *_free: it has been read."""

    q: Any  # and, at the end, the output
    k: Any
    v: Any
    q_full: Any
    q_free: Any
    k_full: Any
    k_free: Any
    v_full: Any
    v_free: Any
    cleared: Any  # of what no row sees, by the first consumer
    turn: Any  # the consumers take turns on the tensor cores
    weights: Any = None  # of a tile's keys, where the second product reads them in SMEM
    # Of pages of float8: a tile of keys and one of values as they arrive, before the producer widens them.
    narrow: Any = None
    narrow_full: Any = None


def scratch(shape: ChunkShape, dtype: Any, stored: Any) -> dict[str, Any]:
    """Buffers by name; those that this shape does not need are not there."""
    stages, tile, boxes = shape.stages, shape.pages.tile, shape.pages.boxes
    narrow = stored != dtype
    full = partial(plgpu.Barrier, num_arrivals=1 if narrow else boxes, num_barriers=stages)
    free = partial(plgpu.Barrier, num_arrivals=CONSUMERS, num_barriers=stages)
    buffers = Buffers(
        q=swizzled((CONSUMERS, ROWS, shape.head_dim), dtype),
        k=swizzled((stages, tile, shape.head_dim), dtype),
        v=swizzled((stages, tile, shape.head_dim), dtype),
        q_full=plgpu.Barrier(num_arrivals=CONSUMERS),
        q_free=plgpu.Barrier(num_arrivals=CONSUMERS),
        k_full=full(),
        k_free=free(),
        v_full=full(),
        v_free=free(),
        cleared=plgpu.Barrier(),
        turn=plgpu.Barrier(num_arrivals=CONSUMERS),
        weights=None if shape.weights_in_registers else swizzled((CONSUMERS, ROWS, tile), dtype),
        narrow=swizzled((2, tile, shape.head_dim), stored) if narrow else None,
        narrow_full=plgpu.Barrier(num_arrivals=boxes, num_barriers=2) if narrow else None,
    )
    return {name: buffer for name, buffer in buffers._asdict().items() if buffer is not None}


class Item(NamedTuple):
    """A work item. Tiles of keys count from token 0."""

    head: jax.Array
    sequence: jax.Array
    start: jax.Array
    stop: jax.Array
    begin: jax.Array
    end: jax.Array
    first_tile: jax.Array
    whole_tiles: jax.Array
    end_tile: jax.Array


class Context(NamedTuple):
    """What both roles share."""

    buffers: Buffers
    item: Callable[[jax.Array], Item]
    shape: ChunkShape
    score: ScoreMod


def place(block: jax.Array, turn: jax.Array, blocks: int) -> jax.Array:
    """Of a block in a turn, there and back: who has the longest item of a turn has the shortest of the next."""
    return jnp.where(lax.rem(turn, jnp.int32(2)) == 1, blocks - 1 - block, block)


def turns_of(block: jax.Array, items: jax.Array, blocks: int) -> jax.Array:
    """How many of `items` items a block takes."""
    full = lax.div(items, jnp.int32(blocks))
    return full + (place(block, full, blocks) < items - full * blocks).astype(jnp.int32)


def item_of(tiles: Tiles, shape: ChunkShape, score: ScoreMod, block: jax.Array, turn: jax.Array) -> Item:
    heads, tile = jnp.int32(shape.pages.kv_heads), jnp.int32(shape.pages.tile)
    at = place(block, turn, shape.blocks) + turn * shape.blocks
    entry = lax.div(at, heads)
    begin, end = tiles.begin[entry], tiles.end[entry]
    first = lax.div(begin, tile)
    return Item(
        head=at - entry * heads,
        sequence=tiles.sequence[entry],
        start=pl.multiple_of(tiles.start[entry], ALIGNED_ROWS),
        stop=tiles.stop[entry],
        begin=begin,
        end=end,
        first_tile=first,
        whole_tiles=first if score.window is not None else lax.div(tiles.whole[entry], tile),
        end_tile=lax.div(end + (tile - 1), tile),
    )
