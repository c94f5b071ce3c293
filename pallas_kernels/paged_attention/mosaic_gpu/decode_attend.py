"""The consumer of the decode kernel: the online softmax of a work item."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention.mosaic_gpu.decode_refs import Buffers, DecodeShape, Item
from pallas_kernels.paged_attention.mosaic_gpu.tiles import (
    LOG2E,
    LOWEST,
    WGMMA,
    clear_unseen,
    filled,
    logit_unit,
    logits,
    product,
    widen,
)
from pallas_kernels.paged_attention.score import ScoreMod

PER_COLUMN = WGMMA.reduce(0)


def attend_item(
    item: Any, buffers: Buffers, slopes: Any, values: Any, softmax: Any, shape: DecodeShape, score: ScoreMod,
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
    it: Item, buffers: Buffers, slope: Any, shape: DecodeShape, score: ScoreMod, slot: Any, stage: Any,
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
