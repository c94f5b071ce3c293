"""The producer of the decode kernel: brings queries and tiles of keys and values into SMEM."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention.mosaic_gpu.decode_refs import Buffers, DecodeShape


def load_item(
    item: Any, buffers: Buffers, q: Any, source: Any, table: Any, first_page: Any, shape: DecodeShape, turn: Any,
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
