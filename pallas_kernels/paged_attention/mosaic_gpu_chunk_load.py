"""The producer of the Hopper kernel for chunks: queries, and tiles of keys and values by page, from GMEM to SMEM."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention.mosaic_gpu_chunk_refs import CONSUMERS, ROWS, Context, Item
from pallas_kernels.paged_attention.mosaic_gpu_tiles import widen

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


def _load_tiles(context: Context, pool: Pool, q: Any, it: Item, turn: jax.Array, done: jax.Array) -> jax.Array:
    """TMA brings keys and values straight to where products read them."""
    buffers, shape = context.buffers, context.shape
    _load_q(context, q, it, turn)

    def load(tile: jax.Array, done: jax.Array) -> jax.Array:
        stage = lax.rem(done, jnp.int32(shape.stages))

        @pl.when(done >= shape.stages)
        def _wait_for_stage() -> None:
            plgpu.barrier_wait(buffers.k_free.at[stage])
            plgpu.barrier_wait(buffers.v_free.at[stage])

        places = _places(context, pool, it, tile)
        shape.pages.copy(pool.source, places, KEYS, buffers.k.at[stage], buffers.k_full.at[stage])
        shape.pages.copy(pool.source, places, VALUES, buffers.v.at[stage], buffers.v_full.at[stage])
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
        rings = (buffers.k, buffers.k_free, buffers.k_full), (buffers.v, buffers.v_free, buffers.v_full)
        for kv, (ring, free, full) in zip((KEYS, VALUES), rings, strict=True):
            plgpu.barrier_wait(buffers.narrow_full.at[kv])

            @pl.when(done >= shape.stages)
            def _wait_for_stage(free: Any = free) -> None:
                plgpu.barrier_wait(free.at[stage])

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
