"""Pages on their way into vector memory, some blocks ahead of the kernel that uses them.

The work of a kernel is a list of items, in order: the parts of tiles of tokens that belong to one sequence. An item
reads blocks of `block` keys that start at multiples of it. The kernel loops over tiles, items and blocks; a cursor in
scalar memory runs over the same list ahead of it and starts the copies, so it crosses the ends of sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pallas_kernels.paged_attention.layout import LANES

LANE_BITS = LANES.bit_length() - 1
# Fields of the cursor: the place that is fetched next, and how many blocks were fetched, items begun, blocks used.
TILE, SEQUENCE, BLOCK, FETCHES, ITEMS, USES = range(6)


@dataclass(frozen=True)
class Plan:
    """Static. Sizes in tokens: a tile (a power of two), a page, a block (a multiple of page); buffers: of a block.

    chunks: the sequences after the decodes, or else the decodes. old: an item reads from the first key that its window
    shows, or else from its own first token.
    """

    tile: int
    page: int
    block: int
    buffers: int
    chunks: bool
    old: bool
    window: int | None

    @property
    def pages(self) -> int:
        """Of a block."""
        return self.block // self.page


class Scalars(NamedTuple):
    """The step's metadata in scalar memory: Int32 [1], [3], [s], [s + 1]."""

    layer: jax.Ref
    distribution: jax.Ref
    kv_lens: jax.Ref
    cu_q_lens: jax.Ref


class Fetch(NamedTuple):
    """Where pages come from, where they go to, and the cursor. See scratch() for shapes."""

    table: jax.Ref  # [s, c, 128]
    pool: jax.Ref
    kv: jax.Ref  # pages by buffer and place
    ids: jax.Ref
    cursor: jax.Ref
    counts: jax.Ref  # pages that were fetched into a buffer
    pages: jax.Ref  # and their ids by place
    kv_sem: jax.Ref
    ids_sem: jax.Ref


class Item(NamedTuple):
    """Tokens begin:end of the step, of one sequence within one tile. Scalars."""

    begin: jax.Array
    end: jax.Array
    shift: jax.Array  # position of a token - its index in the step
    first_key: jax.Array  # positions of the keys that the item reads
    last_key: jax.Array

    def blocks(self, block: int) -> tuple[jax.Array, jax.Array]:
        """First block and one past the last; one block without keys for an item without tokens."""
        first = divide(self.first_key, block)
        return first, jnp.maximum(divide(jnp.maximum(self.last_key, 0), block), first) + 1


def divide(x: jax.Array, y: int) -> jax.Array:
    """x // y for x >= 0, without the correction of signs."""
    return lax.div(x, jnp.int32(y))


def scratch(plan: Plan, table: jax.Array, pool: jax.Array) -> list[Any]:
    """Shapes of Fetch from `kv` on."""
    kv_heads, _, row = pool.shape[2:]
    return [
        pltpu.VMEM((plan.buffers, plan.pages, kv_heads, plan.page, row), pool.dtype),
        pltpu.SMEM((2, *table.shape[1:]), jnp.int32),
        pltpu.SMEM((6,), jnp.int32),
        pltpu.SMEM((plan.buffers,), jnp.int32),
        pltpu.SMEM((plan.buffers, plan.pages), jnp.int32),
        pltpu.SemaphoreType.DMA((plan.buffers,)),
        pltpu.SemaphoreType.DMA((2,)),
    ]


def sequences(plan: Plan, s: Scalars) -> tuple[jax.Array, jax.Array]:
    """The first sequence of the kernel and one past its last."""
    decodes = s.distribution[0]
    return (decodes, s.distribution[2]) if plan.chunks else (jnp.int32(0), decodes)


def item_of(plan: Plan, s: Scalars, tile: jax.Array | int, sequence: jax.Array) -> Item:
    end_of_sequence = s.cu_q_lens[sequence + 1]
    begin = jnp.maximum(s.cu_q_lens[sequence], tile * plan.tile)
    end = jnp.minimum(end_of_sequence, (tile + 1) * plan.tile)
    shift = s.kv_lens[sequence] - end_of_sequence
    first = jnp.int32(0)
    if not plan.old:
        first = jnp.maximum(begin + shift, 0)
    elif plan.window is not None:
        first = jnp.maximum(begin + shift - plan.window + 1, 0)
    return Item(begin, end, shift, first, jnp.where(begin < end, end - 1 + shift, -1))


Also = Callable[[Item, jax.Array, jax.Array], None]


def start(plan: Plan, s: Scalars, f: Fetch, also: Also | None = None) -> None:
    """Put the cursor on the first item and fill all buffers but the one that the first block will ask for."""
    first, end = sequences(plan, s)
    f.cursor[TILE], f.cursor[SEQUENCE], f.cursor[BLOCK] = divide(s.cu_q_lens[first], plan.tile), first, -1
    f.cursor[FETCHES], f.cursor[ITEMS], f.cursor[USES] = 0, 0, 0
    pl.when(first < end)(lambda: _copy_ids(f, first, 0).start())

    @pl.loop(0, plan.buffers - 1)
    def _ahead(_: jax.Array) -> None:
        fetch_next(plan, s, f, also)


def fetch_next(plan: Plan, s: Scalars, f: Fetch, also: Also | None = None) -> None:
    """Start copying the pages of the cursor's block, and move the cursor to the next.

    also(item, block, buffer) starts what else the block needs.
    """
    _, end = sequences(plan, s)

    @pl.when(f.cursor[SEQUENCE] < end)
    def _fetch() -> None:
        tile, sequence = f.cursor[TILE], f.cursor[SEQUENCE]
        item = item_of(plan, s, tile, sequence)
        first, last = item.blocks(plan.block)
        side = lax.rem(f.cursor[ITEMS], 2)
        finished = s.cu_q_lens[sequence + 1] <= (tile + 1) * plan.tile
        following = sequence + finished.astype(jnp.int32)

        @pl.when(f.cursor[BLOCK] < 0)
        def _begin_item() -> None:
            f.cursor[BLOCK] = first
            _copy_ids(f, sequence, side).wait()
            pl.when(following < end)(lambda: _copy_ids(f, following, 1 - side).start())

        block, buffer = f.cursor[BLOCK], lax.rem(f.cursor[FETCHES], plan.buffers)
        _start_pages(plan, s, f, item, block, side, buffer)
        if also is not None:
            also(item, block, buffer)
        f.cursor[FETCHES] += 1
        f.cursor[BLOCK] = block + 1

        @pl.when(block + 1 == last)
        def _next_item() -> None:
            f.cursor[BLOCK] = -1
            f.cursor[ITEMS] += 1
            f.cursor[SEQUENCE] = following
            f.cursor[TILE] = jnp.where(finished, divide(s.cu_q_lens[following], plan.tile), tile + 1)


def wait_next(plan: Plan, s: Scalars, f: Fetch) -> jax.Array:
    """Wait for the pages of the next block in order; its buffer."""
    buffer = lax.rem(f.cursor[USES], plan.buffers)
    f.cursor[USES] += 1
    whole = f.counts[buffer] == plan.pages
    # A semaphore counts bytes: one wait stands for those of all pages.
    pl.when(whole)(lambda: pltpu.make_async_copy(f.kv.at[buffer], f.kv.at[buffer], f.kv_sem.at[buffer]).wait())

    @pl.loop(0, jnp.where(whole, 0, f.counts[buffer]))
    def _page(_: jax.Array) -> None:
        _copy_page(s, f, 0, buffer, 0).wait()

    return buffer


def page_range(plan: Plan, item: Item, block: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The block's pages that hold keys of the item, counted from the block's first: begin, end."""
    begin = jnp.maximum(divide(item.first_key, plan.page) - block * plan.pages, 0)
    end = jnp.minimum(divide(item.last_key + plan.page, plan.page) - block * plan.pages, plan.pages)
    return begin, jnp.maximum(begin, end)


def _start_pages(
    plan: Plan, s: Scalars, f: Fetch, item: Item, block: jax.Array, side: jax.Array, buffer: jax.Array
) -> None:
    begin, end = page_range(plan, item, block)
    first = block * plan.pages
    row, lane = first >> LANE_BITS, first & (LANES - 1)  # a row of ids holds whole blocks of pages

    def start_page(place: jax.Array | int) -> None:
        page = f.ids[side, row, lane + place]
        f.pages[buffer, place] = page
        _copy_page(s, f, page, buffer, place).start()

    whole = end - begin == plan.pages

    @pl.when(whole)
    def _all() -> None:
        for place in range(plan.pages):  # unrolled: a quarter of the scalar work of a loop
            start_page(place)

    pl.loop(jnp.where(whole, end, begin), end)(start_page)
    f.counts[buffer] = end - begin


def _copy_ids(f: Fetch, sequence: jax.Array, side: jax.Array | int):
    return pltpu.make_async_copy(f.table.at[sequence], f.ids.at[side], f.ids_sem.at[side])


def _copy_page(s: Scalars, f: Fetch, page: jax.Array | int, buffer: jax.Array, place: jax.Array | int):
    """A page lies whole on both sides: one copy without strides."""
    return pltpu.make_async_copy(f.pool.at[s.layer[0], page], f.kv.at[buffer, place], f.kv_sem.at[buffer])


def rows_of(plan: Plan, kv: jax.Ref, buffer: jax.Array, head: jax.Array | int) -> jax.Array:
    """The rows of a head in a buffer of pages. [block, row]"""
    return kv[buffer, :, head].reshape(plan.block, kv.shape[-1])
