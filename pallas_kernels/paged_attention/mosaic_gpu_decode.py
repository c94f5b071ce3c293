"""Decode attention over pages on Hopper: split-KV, warp-specialised, in Pallas Mosaic GPU.

A work item is one key head of one split of one sequence. Persistent blocks take items in turn. In each block one
warpgroup brings tiles of keys and values into a ring in SMEM by TMA and runs ahead across items; the other one does
the online softmax. Products stand on their heads: keys are the 64 rows of the left operand, the few query heads of a
key head the columns, so that nothing is computed for padding but up to a multiple of 8.
Flash-decoding (Dao et al. 2023) with FlashAttention-3's roles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention.mosaic_gpu_tiles import (
    LOG2E,
    LOWEST,
    WGMMA,
    Pages,
    clear_unseen,
    drain,
    filled,
    logit_unit,
    logits,
    product,
    swizzled,
    widen,
)
from pallas_kernels.paged_attention.score import ScoreMod

PER_COLUMN = WGMMA.reduce(0)


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


def split_range(kv_lens: jax.Array, num_decodes: jax.Array, split: int, window: int | None) -> tuple[Any, Any]:
    """First split that holds a visible key and the end of the splits, Int32[s] each; equal where there is no decode."""
    index = jnp.arange(len(kv_lens), dtype=jnp.int32)
    length = jnp.where(index < num_decodes, kv_lens, 0)
    first = jnp.zeros_like(length) if window is None else jnp.maximum(length - window, 0) // split
    return first, jnp.where(length > 0, (length - 1) // split + 1, first)


def work_list(first: jax.Array, end: jax.Array, splits: int) -> Work:
    """The splits first:end of each sequence, one sequence after the other."""
    sequences = len(first)
    ends = jnp.cumsum(end - first, dtype=jnp.int32)
    item = jnp.arange(sequences * splits, dtype=jnp.int32)
    sequence = jnp.sum((item[:, None] >= ends[None, :]).astype(jnp.int32), axis=1)
    sequence = jnp.minimum(sequence, sequences - 1)
    return Work(sequence, end[sequence] + item - ends[sequence], ends[-1:])


def decode_splits(
    q: jax.Array,
    pool: jax.Array,
    layer: jax.Array,
    page_table: jax.Array,
    kv_lens: jax.Array,
    work: Work,
    slopes: jax.Array | None,
    *,
    shape: DecodeShape,
    score: ScoreMod,
) -> tuple[jax.Array, jax.Array]:
    """Attention within each split: weighted sums of values, float32 [sequences, splits, hkv, d, columns], and float32
    [sequences, splits, hkv, 2, columns], the largest logit (log2) and the sum of weights relative to it.

    q: [sequences, hkv, columns, d], padded as the pool is. pool: [layers, pages, 2, hkv, page, d] in q's dtype or in
    float8, then q is WIDENED. slopes: float32 [hkv, columns] or None. Splits that are not in the work list keep
    whatever the memory held.
    """
    pages = shape.pages
    items = shape.sequences * shape.splits * pages.kv_heads
    first_page = (layer.astype(jnp.int32) * pool.shape[1]).reshape(1)
    operands = [q, pages.view(pool), page_table, kv_lens, first_page, *work]
    operands += [] if slopes is None else [slopes]
    kernel = plgpu.kernel(
        partial(_kernel, shape=shape, score=score, alibi=slopes is not None),
        out_type=(
            jax.ShapeDtypeStruct((items, shape.head_dim, shape.columns), jnp.float32),
            jax.ShapeDtypeStruct((items, 2, shape.columns), jnp.float32),
        ),
        grid=(shape.blocks,),
        grid_names=("block",),
        num_threads=2,
        thread_name="warpgroup",
        scratch_types=_scratch(shape, q.dtype, pool.dtype),
        compiler_params=plgpu.CompilerParams(approx_math=True),
    )
    values, softmax = kernel(*operands)
    lead = (shape.sequences, shape.splits, pages.kv_heads)
    return values.reshape(*lead, shape.head_dim, shape.columns), softmax.reshape(*lead, 2, shape.columns)


class _Buffers(NamedTuple):
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


def _scratch(shape: DecodeShape, dtype: Any, stored: Any) -> list[Any]:
    stages, tile, boxes = shape.stages, shape.pages.tile, shape.pages.boxes
    buffers = _Buffers(
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


class _Item(NamedTuple):
    """A work item and which keys it sees. Tiles count from token 0."""

    sequence: jax.Array
    split: jax.Array
    head: jax.Array
    begin: jax.Array  # the first visible key of the sequence
    length: jax.Array  # of the sequence
    first_tile: jax.Array
    tiles: jax.Array


def _kernel(*refs: Any, shape: DecodeShape, score: ScoreMod, alibi: bool) -> None:
    q, source, table, kv_lens, first_page, sequences, splits, count, *others = refs
    slopes = others.pop(0) if alibi else None
    values, softmax, *scratch = others
    buffers = _Buffers(*scratch)
    block, heads = lax.axis_index("block"), shape.pages.kv_heads
    turns = jnp.maximum(lax.div(count[0] * heads - block + (shape.blocks - 1), jnp.int32(shape.blocks)), 0)

    def item(turn: jax.Array) -> _Item:
        at = block + turn * shape.blocks
        entry = lax.div(at, jnp.int32(heads))
        return _item(sequences[entry], splits[entry], at - entry * heads, kv_lens, shape, score.window)

    @pl.when(lax.axis_index("warpgroup") == 0)
    def _consume() -> None:
        attend = partial(_attend, item, buffers, slopes, values, softmax, shape, score)
        lax.fori_loop(0, turns, attend, jnp.int32(0))

    @pl.when(lax.axis_index("warpgroup") == 1)
    def _produce() -> None:
        load = partial(_load, item, buffers, q, source, table, first_page[0], shape)
        done = lax.fori_loop(0, turns, load, jnp.int32(0))
        drain((buffers.k_free, buffers.v_free), done, shape.stages)
        drain((buffers.q_free,), turns, 2)


def _item(sequence: Any, split: Any, head: Any, kv_lens: Any, shape: DecodeShape, window: int | None) -> _Item:
    length, tile = kv_lens[sequence], jnp.int32(shape.pages.tile)
    begin = jnp.int32(0) if window is None else jnp.maximum(length - window, 0)
    first_tile = lax.div(jnp.maximum(begin, split * shape.split), tile)
    end = jnp.minimum(length, (split + 1) * shape.split)
    return _Item(sequence, split, head, begin, length, first_tile, lax.div(end + (tile - 1), tile) - first_tile)


def _load(
    item: Any, buffers: _Buffers, q: Any, source: Any, table: Any, first_page: Any, shape: DecodeShape, turn: Any,
    done: Any,
) -> jax.Array:  # fmt: skip
    """The producer's part of an item. done: tiles of the items before. Returns it with this item's added."""
    it, pages = item(turn), shape.pages
    slot = lax.rem(turn, jnp.int32(2))

    @pl.when(turn >= 2)
    def _wait_for_q() -> None:
        plgpu.barrier_wait(buffers.q_free.at[slot])

    plgpu.copy_gmem_to_smem(q.at[it.sequence, it.head], buffers.q.at[slot], buffers.q_full.at[slot])
    size = jnp.int32(pages.page_size)
    first, last = lax.div(it.begin, size), lax.div(it.length - 1, size)

    def held(page: jax.Array) -> jax.Array:
        # Outside of what is visible the table may say anything: take a page that is read anyway.
        return table[it.sequence, jnp.clip(page, first, last)] + first_page

    def load_tile(i: jax.Array, _: None) -> None:
        stage = lax.rem(done + i, jnp.int32(shape.stages))

        @pl.when(done + i >= shape.stages)
        def _wait_for_stage() -> None:
            plgpu.barrier_wait(buffers.k_free.at[stage])
            plgpu.barrier_wait(buffers.v_free.at[stage])

        places = pages.places(held, it.head, it.first_tile + i)
        pages.copy(source, places, 0, buffers.k.at[stage], buffers.k_full.at[stage])
        pages.copy(source, places, 1, buffers.v.at[stage], buffers.v_full.at[stage])

    lax.fori_loop(0, it.tiles, load_tile, None)
    return done + it.tiles


def _attend(
    item: Any, buffers: _Buffers, slopes: Any, values: Any, softmax: Any, shape: DecodeShape, score: ScoreMod,
    turn: Any, done: Any,
) -> jax.Array:  # fmt: skip
    """The consumer's part of an item."""
    it = item(turn)
    slot = lax.rem(turn, jnp.int32(2))
    slope = None if slopes is None else plgpu.load(slopes.at[it.head], layout=PER_COLUMN, optimized=False) * LOG2E
    plgpu.barrier_wait(buffers.q_full.at[slot])

    def merge_tile(i: jax.Array, state: Any) -> Any:
        stage = lax.rem(done + i, jnp.int32(shape.stages))
        first_key = (it.first_tile + i) * shape.pages.tile
        return _merge_tile(it, buffers, slope, shape, score, slot, stage, first_key, state)

    state = (
        filled((shape.head_dim, shape.columns), 0.0, WGMMA),
        filled((shape.columns,), LOWEST, PER_COLUMN),
        filled((shape.pages.tile, shape.columns), 0.0, WGMMA),
    )
    acc, top, total = lax.fori_loop(0, it.tiles, merge_tile, state)
    plgpu.barrier_arrive(buffers.q_free.at[slot])
    buffers.values[...] = acc
    buffers.softmax[0] = top * logit_unit(score, slope is not None)
    buffers.softmax[1] = total.sum(axis=0)
    plgpu.commit_smem()
    row = (it.sequence * shape.splits + it.split) * shape.pages.kv_heads + it.head
    plgpu.copy_smem_to_gmem(buffers.values, values.at[row])
    plgpu.copy_smem_to_gmem(buffers.softmax, softmax.at[row])
    plgpu.wait_smem_to_gmem(0)
    return done + it.tiles


def _merge_tile(
    it: _Item, buffers: _Buffers, slope: Any, shape: DecodeShape, score: ScoreMod, slot: Any, stage: Any,
    first_key: Any, state: Any,
) -> tuple[jax.Array, jax.Array, jax.Array]:  # fmt: skip
    """The online softmax (values [d, columns], maximum [columns], weights [tile, columns]) with a tile added."""
    acc, top, total = state
    plgpu.barrier_wait(buffers.k_full.at[stage])
    keys = _operand(buffers.k.at[stage], buffers.wide, 0)
    s = product(keys, buffers.q.at[slot].transpose((1, 0)), total.shape)
    plgpu.barrier_arrive(buffers.k_free.at[stage])
    key = plgpu.broadcasted_iota(jnp.int32, s.shape, 0, layout=WGMMA) + first_key
    s = logits(s, score, None if slope is None else _rows(slope, s.shape), it.length - 1 - key)
    s = jnp.where((key >= it.begin) & (key < it.length), s, LOWEST)
    new_top = jnp.maximum(top, s.max(axis=0))
    unit = logit_unit(score, slope is not None)
    shrink = jnp.exp2((top - new_top) * unit)
    p = jnp.exp2((s - _rows(new_top, s.shape)) * unit)
    buffers.weights.T[...] = plgpu.layout_cast(p.astype(buffers.weights.dtype), plgpu.Layout.WGMMA_TRANSPOSED)
    plgpu.commit_smem()
    plgpu.barrier_wait(buffers.v_full.at[stage])
    seen = _operand(buffers.v.at[stage], buffers.wide, 1)

    @pl.when((first_key < it.begin) | (first_key + shape.pages.tile > it.length))
    def _edge_of_the_sequence() -> None:
        clear_unseen(seen, first_key, it.begin, it.length)

    new = product(seen.transpose((1, 0)), buffers.weights.transpose((1, 0)), acc.shape)
    plgpu.barrier_arrive(buffers.v_free.at[stage])
    return acc * _rows(shrink, acc.shape) + new, new_top, total * _rows(shrink, total.shape) + p


def _operand(tile: Any, wide: Any, kv: int) -> Any:
    """A tile as a product takes it. Keys and values have a place each: the other's product may not have read all."""
    if wide is None:
        return tile
    widen(tile, wide.at[kv])
    return wide.at[kv]


def _rows(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """A value per column, repeated along the rows."""
    return lax.broadcast_in_dim(x, shape, [1])
