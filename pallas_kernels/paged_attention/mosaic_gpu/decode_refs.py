"""What the parts of the decode kernel share: static sizes, work items, buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention.mosaic_gpu.tiles import Pages, swizzled


@dataclass(frozen=True)
class DecodeShape:
    """Static sizes. columns: query heads of a key head, padded; split: keys of a work item, a multiple of the tile."""

    sequences: int
    columns: int
    head_dim: int
    splits: int
    split: int
    stages: int
    blocks: int
    pages: Pages


class Work(NamedTuple):
    """The items that there are: sequence, split, Int32[n]; `real` Int32[1]: how many of the n there are."""

    sequence: jax.Array
    split: jax.Array
    real: jax.Array


class Buffers(NamedTuple):
    """SMEM and barriers of a block. *_full: a copy has arrived; *_free: it has been read."""

    q: Any
    k: Any
    v: Any
    weights: Any
    values: Any
    softmax: Any
    q_full: Any
    q_free: Any
    k_full: Any
    k_free: Any
    v_full: Any
    v_free: Any
    wide: Any = None  # a tile of keys and one of values in q's dtype, where the pool has another


def scratch(shape: DecodeShape, dtype: Any, stored: Any) -> list[Any]:
    stages, tile, boxes = shape.stages, shape.pages.tile, shape.pages.boxes
    buffers = Buffers(
        q=swizzled((2, shape.columns, shape.head_dim), dtype),
        k=swizzled((stages, tile, shape.head_dim), stored),
        v=swizzled((stages, tile, shape.head_dim), stored),
        weights=swizzled((shape.columns, tile), dtype),
        values=plgpu.SMEM((shape.head_dim, shape.columns), jnp.float32),
        softmax=plgpu.SMEM((2, shape.columns), jnp.float32),
        q_full=plgpu.Barrier(num_barriers=2),
        q_free=plgpu.Barrier(num_barriers=2),
        k_full=plgpu.Barrier(num_arrivals=boxes, num_barriers=stages),
        k_free=plgpu.Barrier(num_barriers=stages),
        v_full=plgpu.Barrier(num_arrivals=boxes, num_barriers=stages),
        v_free=plgpu.Barrier(num_barriers=stages),
        wide=swizzled((2, tile, shape.head_dim), dtype),
    )
    return list(buffers if stored != dtype else buffers[:-1])


class Item(NamedTuple):
    """A work item and which keys it sees. Tiles count from token 0."""

    sequence: jax.Array
    split: jax.Array
    head: jax.Array
    begin: jax.Array  # the first visible key of the sequence
    length: jax.Array  # of the sequence
    first_tile: jax.Array
    tiles: jax.Array


def item_of(sequence: Any, split: Any, head: Any, kv_lens: Any, shape: DecodeShape, window: int | None) -> Item:
    length, tile = kv_lens[sequence], jnp.int32(shape.pages.tile)
    begin = jnp.int32(0) if window is None else jnp.maximum(length - window, 0)
    first_tile = lax.div(jnp.maximum(begin, split * shape.split), tile)
    end = jnp.minimum(length, (split + 1) * shape.split)
    return Item(sequence, split, head, begin, length, first_tile, lax.div(end + (tile - 1), tile) - first_tile)
