"""The producer of the Hopper kernel for chunks: queries, and tiles of keys and values by page, from GMEM to SMEM."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention.mosaic_gpu.chunk_refs import CONSUMERS, ROWS, Buffers, Context, Item
from pallas_kernels.paged_attention.mosaic_gpu.tiles import widen

KEYS, VALUES = 0, 1


class Pool(NamedTuple):
    """In GMEM. source: Pages.view() of the pool; table: the page table; first_page: of the layer."""

    source: Any
    table: Any
    first_page: jax.Array


def load_item(context: Context, pool: Pool, q: Any, turn: jax.Array, done: jax.Array) -> jax.Array:
    """The producer's part of an item. done: tiles of the items before. Returns it with this item's added."""
    it = context.item(turn)
    load = _load_tiles if context.buffers.narrow is None else _load_narrow_tiles
    return load(context, pool, q, it, turn, done)


def _load_q(context: Context, q: Any, it: Item, turn: jax.Array) -> None:
    buffers = context.buffers

    @pl.when(turn > 0)
    def _wait_for_q() -> None:
        plgpu.barrier_wait(buffers.q_free)

    for i in range(CONSUMERS):
        rows = q.at[it.head, pl.ds(it.start + i * ROWS, ROWS)]
        plgpu.copy_gmem_to_smem(rows, buffers.q.at[i], buffers.q_full)


def _places(context: Context, pool: Pool, it: Item, tile: jax.Array) -> list[jax.Array]:
    size = jnp.int32(context.shape.pages.page_size)
    first, last = lax.div(it.begin, size), lax.div(it.end - 1, size)

    def held(page: jax.Array) -> jax.Array:
        # Outside of what is visible the table may say anything: take a page that is read anyway.
        return pool.table[it.sequence, jnp.clip(page, first, last)] + pool.first_page

    return context.shape.pages.places(held, it.head, tile)


def _rings(buffers: Buffers) -> tuple[tuple[Any, Any, Any], ...]:
    """Stages of keys and of values, and the barriers of each."""
    return (buffers.k, buffers.k_free, buffers.k_full), (buffers.v, buffers.v_free, buffers.v_full)


def _wait_for_stage(context: Context, free: Any, done: jax.Array) -> None:
    stages = context.shape.stages

    @pl.when(done >= stages)
    def _wait() -> None:
        plgpu.barrier_wait(free.at[lax.rem(done, jnp.int32(stages))])


def _load_tiles(context: Context, pool: Pool, q: Any, it: Item, turn: jax.Array, done: jax.Array) -> jax.Array:
    """TMA brings keys and values straight to where products read them."""
    buffers, shape = context.buffers, context.shape
    _load_q(context, q, it, turn)

    def load(tile: jax.Array, done: jax.Array) -> jax.Array:
        stage = lax.rem(done, jnp.int32(shape.stages))

        places = _places(context, pool, it, tile)
        # Values have a wait of their own: with one stage the consumers need the next keys to free them.
        for kv, (ring, free, full) in zip((KEYS, VALUES), _rings(buffers), strict=True):
            _wait_for_stage(context, free, done)
            shape.pages.copy(pool.source, places, kv, ring.at[stage], full.at[stage])
        return done + 1

    return lax.fori_loop(it.first_tile, it.end_tile, load, done)


def _load_narrow_tiles(context: Context, pool: Pool, q: Any, it: Item, turn: jax.Array, done: jax.Array) -> jax.Array:
    """TMA brings the next tile of float8 while this warpgroup widens the one before, as FlashAttention-3's does."""
    buffers, shape = context.buffers, context.shape

    def start(tile: jax.Array, kv: int) -> None:
        places = _places(context, pool, it, tile)
        shape.pages.copy(pool.source, places, kv, buffers.narrow.at[kv], buffers.narrow_full.at[kv])

    def load(tile: jax.Array, done: jax.Array) -> jax.Array:
        stage = lax.rem(done, jnp.int32(shape.stages))
        for kv, (ring, free, full) in zip((KEYS, VALUES), _rings(buffers), strict=True):
            plgpu.barrier_wait(buffers.narrow_full.at[kv])
            _wait_for_stage(context, free, done)
            widen(buffers.narrow.at[kv], ring.at[stage])
            plgpu.barrier_arrive(full.at[stage])

            @pl.when(tile + 1 < it.end_tile)
            def _next(kv: int = kv) -> None:
                start(tile + 1, kv)

        return done + 1

    start(it.first_tile, KEYS)
    start(it.first_tile, VALUES)
    _load_q(context, q, it, turn)
    return lax.fori_loop(it.first_tile, it.end_tile, load, done)
