"""The attention kernel for TPUs: tiles of queries against pages, which it fetches ahead of use.

The work is a list of items, in order: the parts of tiles that belong to one sequence. An item attends to blocks of
`block` keys that start at multiples of it. Compute loops over tiles, items and blocks; a cursor in scalar memory runs
over the same list some blocks ahead and starts the copies of their pages, so it crosses the ends of sequences.
For decodes a tile is one token, and the kernel writes the token's key and value too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pallas_kernels.paged_attention.layout import LANES
from pallas_kernels.paged_attention.score import ScoreMod

LOG2E = math.log2(math.e)
# A masked score is so far below an empty maximum that its weight is 0, before any key was seen too.
EMPTY, MASKED = -1e30, -2e30
STAGES = 4  # rows of pages on their way back to the pool


@dataclass(frozen=True)
class Geometry:
    """Static sizes. tokens: of a tile, a power of two; group: rows per token; block: keys, a multiple of page."""

    kv_heads: int
    group: int
    tokens: int
    tiles: int  # of one grid step
    page: int
    block: int
    buffers: int
    half: int  # lanes of a key in a row of the pool
    head_unroll: int
    vmem_limit: int
    score: ScoreMod
    alibi: bool
    sinks: bool
    writes: bool

    @property
    def rows(self) -> int:
        return self.group * self.tokens

    @property
    def lanes(self) -> int:
        """Width of queries and outputs. Half a register of queries meets a whole row, zeros on the value's side."""
        return max(self.half, LANES)


class Item(NamedTuple):
    """Tokens of one sequence within one tile. Scalars."""

    begin: jax.Array  # token of the step
    end: jax.Array
    shift: jax.Array  # position of a token - its index in the step
    first_key: jax.Array
    last_key: jax.Array

    def blocks(self, block: int) -> tuple[jax.Array, jax.Array]:
        """First block and one past the last; one block without keys for an item without tokens."""
        first = self.first_key // block
        return first, jnp.maximum(self.last_key // block, first) + 1


class Refs(NamedTuple):
    """Everything that the kernel's parts share. See `attend` for the arrays, _scratch for the rest."""

    layer: jax.Ref
    bounds: jax.Ref
    kv_lens: jax.Ref
    cu_q_lens: jax.Ref
    slopes: jax.Ref
    sinks: jax.Ref
    q: jax.Ref
    new: jax.Ref | None
    table: jax.Ref
    pool: jax.Ref
    out: jax.Ref
    kv: jax.Ref
    top: jax.Ref
    total: jax.Ref
    acc: jax.Ref
    ids: jax.Ref
    cursor: jax.Ref
    fetched: jax.Ref
    last_page: jax.Ref
    kv_sem: jax.Ref
    ids_sem: jax.Ref
    stage: jax.Ref | None
    stage_sem: jax.Ref | None


# Fields of the cursor.
TILE, SEQUENCE, BLOCK, FETCHES, ITEMS, MERGES, COMPUTED, WRITES = range(8)


def attend(
    g: Geometry,
    layer: jax.Array,
    bounds: jax.Array,
    kv_lens: jax.Array,
    cu_q_lens: jax.Array,
    slopes: jax.Array,
    sinks: jax.Array,
    q: jax.Array,
    new: jax.Array | None,
    table: jax.Array,
    pool: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Outputs like q, and the pool. Tiles before and after those of sequences bounds[0]:bounds[1] hold anything.

    layer [1], bounds [2], kv_lens [s], cu_q_lens [s + 1] int32; slopes, sinks float32 [hkv * group of the model];
    q [tiles, hkv, rows, lanes], row = group * tokens + token; new [tiles, hkv, 1, 2 * half] (writes only);
    table [s, c, 128]; pool as in layout.FUSED_AXES.
    """
    steps = pl.cdiv(_tiles_used(g, bounds, cu_q_lens), g.tiles)
    tile = lambda *shape: pl.BlockSpec((g.tiles, *shape), lambda i, *_: (i, *(0 for _ in shape)))  # noqa: E731
    whole, scalars = pl.BlockSpec(memory_space=pl.ANY), pl.BlockSpec(memory_space=pltpu.SMEM)
    q_spec = tile(g.kv_heads, g.rows, g.lanes)
    news = [] if new is None else [new]
    grid = pltpu.PrefetchScalarGridSpec(
        num_scalar_prefetch=4,
        grid=(jnp.maximum(steps, 1),),
        in_specs=[scalars, scalars, q_spec, *(tile(*x.shape[1:]) for x in news), whole, whole],
        out_specs=[q_spec, whole] if g.writes else [q_spec],
        scratch_shapes=_scratch(g, table, pool),
    )
    out_shape = [jax.ShapeDtypeStruct(q.shape, q.dtype)]
    result = pl.pallas_call(
        partial(_kernel, g),
        out_shape=[*out_shape, jax.ShapeDtypeStruct(pool.shape, pool.dtype)] if g.writes else out_shape,
        grid_spec=grid,
        input_output_aliases={9: 1} if g.writes else {},
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("arbitrary",), vmem_limit_bytes=g.vmem_limit, disable_bounds_checks=True
        ),
        name="paged_attention_decode" if g.writes else "paged_attention_chunk",
    )(layer, bounds, kv_lens, cu_q_lens, slopes, sinks, q, *news, table, pool)
    return (result[0], result[1]) if g.writes else (result[0], pool)


def _tiles_used(g: Geometry, bounds: jax.Array, cu_q_lens: jax.Array) -> jax.Array:
    return pl.cdiv(cu_q_lens[bounds[1]], g.tokens)


def _scratch(g: Geometry, table: jax.Array, pool: jax.Array) -> list[object]:
    row = 2 * g.half
    state = pltpu.VMEM((g.kv_heads, g.rows, LANES), jnp.float32)
    scratch: list[object] = [
        pltpu.VMEM((g.buffers, g.kv_heads, g.block, row), pool.dtype),
        state,
        state,
        pltpu.VMEM((g.kv_heads, g.rows, g.lanes), jnp.float32),
        pltpu.SMEM((2, *table.shape[1:]), jnp.int32),
        pltpu.SMEM((8,), jnp.int32),
        pltpu.SMEM((g.buffers,), jnp.int32),
        pltpu.SMEM((g.buffers,), jnp.int32),
        pltpu.SemaphoreType.DMA((g.buffers,)),
        pltpu.SemaphoreType.DMA((2,)),
    ]
    if g.writes:
        scratch += [
            pltpu.VMEM((STAGES, g.kv_heads, sublanes(pool.dtype), row), pool.dtype),
            pltpu.SemaphoreType.DMA((STAGES,)),
        ]
    return scratch


def sublanes(dtype: jnp.dtype) -> int:
    """Rows of a register: what a copy to or from a page must be aligned to."""
    return 32 // jnp.dtype(dtype).itemsize


def _kernel(g: Geometry, *refs: jax.Ref) -> None:
    scalars, q, rest = refs[:6], refs[6], refs[7:]
    if g.writes:
        new, table, _, out, pool, *scratch = rest
    else:
        (table, pool, out, *scratch), new = rest, None
        scratch += [None, None]
    r = Refs(*scalars, q, new, table, pool, out, *scratch)

    @pl.when(pl.program_id(0) == 0)
    def _() -> None:
        _start(g, r)

    first_tile = pl.program_id(0) * g.tiles

    def tile(i: jax.Array, _: None) -> None:
        _attend_tile(g, r, first_tile + i, i)

    lax.fori_loop(0, g.tiles, tile, None)
    if g.writes:

        @pl.when(pl.program_id(0) == pl.num_programs(0) - 1)
        def _() -> None:
            _finish_writes(g, r)


def _attend_tile(g: Geometry, r: Refs, tile: jax.Array, i: jax.Array) -> None:
    _init_softmax(g, r)
    end = (tile + 1) * g.tokens

    def more(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        sequence, done = state
        return jnp.logical_not(done) & (sequence < r.bounds[1]) & (r.cu_q_lens[sequence] < end)

    def item(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        sequence, _ = state
        _attend_item(g, r, tile, i, _item(g, r, tile, sequence))
        finished = r.cu_q_lens[sequence + 1] <= end
        return sequence + finished.astype(jnp.int32), jnp.logical_not(finished)

    r.cursor[COMPUTED], _ = lax.while_loop(more, item, (r.cursor[COMPUTED], False))
    _store_out(g, r, i)


def _attend_item(g: Geometry, r: Refs, tile: jax.Array, i: jax.Array, item: Item) -> None:
    first, last = item.blocks(g.block)

    def block(b: jax.Array, _: None) -> None:
        _fetch_next(g, r)
        buffer = lax.rem(r.cursor[MERGES], g.buffers)
        _wait_pages(g, r, buffer)
        if g.writes:

            @pl.when(b == last - 1)
            def _() -> None:
                _write_token(g, r, buffer, i, item.last_key)

        start = b * g.block

        @pl.when((start < item.first_key) | (start + g.block > item.last_key + 1))
        def _() -> None:
            _clean(g, r, buffer, item.first_key - start, item.last_key - start)

        _merge_block(g, r, buffer, i, tile * g.tokens, item, start)
        r.cursor[MERGES] += 1

    lax.fori_loop(first, last, block, None)


# Items, and the cursor that fetches ahead.


def _item(g: Geometry, r: Refs, tile: jax.Array, sequence: jax.Array) -> Item:
    end_of_sequence = r.cu_q_lens[sequence + 1]
    begin = jnp.maximum(r.cu_q_lens[sequence], tile * g.tokens)
    end = jnp.minimum(end_of_sequence, (tile + 1) * g.tokens)
    shift = r.kv_lens[sequence] - end_of_sequence
    window = g.score.window
    first = jnp.int32(0) if window is None else jnp.maximum(begin + shift - window + 1, 0)
    return Item(begin, end, shift, first, jnp.where(begin < end, end - 1 + shift, -1))


def _start(g: Geometry, r: Refs) -> None:
    """Put the cursor on the first item and fill all buffers but the one that the first block will ask for."""
    first = r.bounds[0]
    for field in range(8):
        r.cursor[field] = 0
    r.cursor[TILE], r.cursor[SEQUENCE], r.cursor[BLOCK] = r.cu_q_lens[first] // g.tokens, first, -1
    r.cursor[COMPUTED] = first

    @pl.when(first < r.bounds[1])
    def _() -> None:
        _copy_ids(r, first, 0).start()

    for _ in range(g.buffers - 1):
        _fetch_next(g, r)


def _fetch_next(g: Geometry, r: Refs) -> None:
    """Start copying the pages of the cursor's block, and move the cursor to the next."""

    @pl.when(r.cursor[SEQUENCE] < r.bounds[1])
    def _() -> None:
        tile, sequence = r.cursor[TILE], r.cursor[SEQUENCE]
        item = _item(g, r, tile, sequence)
        first, last = item.blocks(g.block)
        side = lax.rem(r.cursor[ITEMS], 2)
        finished = r.cu_q_lens[sequence + 1] <= (tile + 1) * g.tokens
        following = sequence + finished.astype(jnp.int32)

        @pl.when(r.cursor[BLOCK] < 0)
        def _() -> None:
            r.cursor[BLOCK] = first
            _copy_ids(r, sequence, side).wait()

            @pl.when(following < r.bounds[1])
            def _() -> None:
                _copy_ids(r, following, 1 - side).start()

        block = r.cursor[BLOCK]
        _start_pages(g, r, block, item, side)
        r.cursor[FETCHES] += 1
        r.cursor[BLOCK] = block + 1

        @pl.when(block + 1 == last)
        def _() -> None:
            r.cursor[BLOCK] = -1
            r.cursor[ITEMS] += 1
            r.cursor[SEQUENCE] = following
            r.cursor[TILE] = jnp.where(finished, r.cu_q_lens[following] // g.tokens, tile + 1)


def _start_pages(g: Geometry, r: Refs, block: jax.Array, item: Item, side: jax.Array) -> None:
    """Copy the block's pages that hold keys which the item sees."""
    per_block = g.block // g.page
    buffer = lax.rem(r.cursor[FETCHES], g.buffers)
    begin = jnp.maximum(item.first_key // g.page, block * per_block)
    end = jnp.minimum((item.last_key + g.page) // g.page, (block + 1) * per_block)

    def page(i: jax.Array, _: None) -> None:
        _copy_page(g, r, _page_id(r, side, i), buffer, i - block * per_block).start()

    lax.fori_loop(begin, end, page, None)
    r.fetched[buffer] = jnp.maximum(end - begin, 0)
    r.last_page[buffer] = _page_id(r, side, jnp.maximum(end - 1, 0))


def _page_id(r: Refs, side: jax.Array, i: jax.Array) -> jax.Array:
    return r.ids[side, i // LANES, lax.rem(i, LANES)]


def _copy_ids(r: Refs, sequence: jax.Array, side: jax.Array | int) -> pltpu.AsyncCopyDescriptor:
    return pltpu.make_async_copy(r.table.at[sequence], r.ids.at[side], r.ids_sem.at[side])


def _copy_page(g: Geometry, r: Refs, page: jax.Array, buffer: jax.Array, place: jax.Array):
    slots = pl.ds(pl.multiple_of(place * g.page, g.page), g.page)
    return pltpu.make_async_copy(r.pool.at[r.layer[0], page], r.kv.at[buffer, :, slots], r.kv_sem.at[buffer])


def _wait_pages(g: Geometry, r: Refs, buffer: jax.Array) -> None:
    def page(i: jax.Array, _: None) -> None:
        _copy_page(g, r, 0, buffer, 0).wait()

    lax.fori_loop(0, r.fetched[buffer], page, None)


# The new token of a decode.


def _write_token(g: Geometry, r: Refs, buffer: jax.Array, i: jax.Array, position: jax.Array) -> None:
    """Put the token's row into the buffer, and copy the registers that it lies in to its page."""
    rows = r.stage.shape[2]
    place = lax.rem(position, g.block)
    aligned = pl.multiple_of(place // rows * rows, rows)
    stage = lax.rem(r.cursor[WRITES], STAGES)
    page = r.last_page[buffer]

    @pl.when(r.cursor[WRITES] >= STAGES)
    def _() -> None:
        _copy_stage(g, r, stage, page, 0).wait()

    here = lax.broadcasted_iota(jnp.int32, (rows, 1), 0) == place - aligned
    for head in range(g.kv_heads):
        row = r.new[i, head]
        merged = jnp.where(here, row, r.kv[buffer, head, pl.ds(aligned, rows)])
        r.kv[buffer, head, pl.ds(aligned, rows)] = merged
        r.stage[stage, head] = merged
    _copy_stage(g, r, stage, page, lax.rem(aligned, g.page)).start()
    r.cursor[WRITES] += 1


def _copy_stage(g: Geometry, r: Refs, stage: jax.Array, page: jax.Array, slot: jax.Array | int):
    rows = r.stage.shape[2]
    target = r.pool.at[r.layer[0], page, :, pl.ds(pl.multiple_of(slot, rows), rows)]
    return pltpu.make_async_copy(r.stage.at[stage], target, r.stage_sem.at[stage])


def _finish_writes(g: Geometry, r: Refs) -> None:
    for stage in range(STAGES):

        @pl.when(stage < r.cursor[WRITES])
        def _(stage: int = stage) -> None:
            _copy_stage(g, r, stage, 0, 0).wait()


# The online softmax, in units of log2.


def _init_softmax(g: Geometry, r: Refs) -> None:
    r.acc[...] = jnp.zeros_like(r.acc)
    if not g.sinks:
        r.top[...] = jnp.full_like(r.top, EMPTY)
        r.total[...] = jnp.zeros_like(r.total)
        return
    r.total[...] = jnp.ones_like(r.total)
    for head in range(g.kv_heads):
        r.top[head] = jnp.broadcast_to(_per_head(g, r.sinks, head) * LOG2E, r.top.shape[1:])


def _per_head(g: Geometry, values: jax.Ref, head: jax.Array | int) -> jax.Array:
    """values [hkv * members] of the heads that the rows belong to, [rows, 1]. Padded members get the last one's."""
    members = values.shape[0] // g.kv_heads
    member = lax.broadcasted_iota(jnp.int32, (g.rows, 1), 0) >> (g.tokens.bit_length() - 1)
    column = jnp.full((g.rows, 1), values[head * members], jnp.float32)
    for m in range(1, members):
        column = jnp.where(member >= m, values[head * members + m], column)
    return column


def _clean(g: Geometry, r: Refs, buffer: jax.Array, first: jax.Array, last: jax.Array) -> None:
    """Zero the rows that no query sees: they may hold NaN, and NaN times a weight of 0 would be NaN."""
    row = lax.broadcasted_iota(jnp.int32, (g.block, 1), 0)
    keep = (row >= first) & (row <= last)

    def head(h: jax.Array, _: None) -> None:
        rows = r.kv[buffer, h]
        r.kv[buffer, h] = jnp.where(keep, rows, jnp.zeros_like(rows))

    lax.fori_loop(0, g.kv_heads, head, None)


def _merge_block(
    g: Geometry, r: Refs, buffer: jax.Array, i: jax.Array, tile_start: jax.Array, item: Item, start: jax.Array
) -> None:
    """Add the block of keys from position `start` to the softmax of the item's rows; other rows keep theirs."""
    whole = (item.begin == tile_start) & (item.end == tile_start + g.tokens)
    whole &= start + g.block - 1 <= item.begin + item.shift
    if g.score.window is not None:
        whole &= start > item.last_key - g.score.window

    def position() -> jax.Array:
        """Of each row's token; -1 where it is not the item's. [rows, 1]"""
        row = lax.broadcasted_iota(jnp.int32, (g.rows, 1), 0)
        token = tile_start + (row & (g.tokens - 1))
        return jnp.where((token >= item.begin) & (token < item.end), token + item.shift, -1)

    def heads(masked: bool) -> None:
        def head(h: jax.Array | int) -> None:
            _merge_head(g, r, buffer, i, h, position() if masked or g.alibi else None, start, masked)

        _for_heads(g, head)

    pl.when(whole)(partial(heads, False))
    pl.when(jnp.logical_not(whole))(partial(heads, True))


def _for_heads(g: Geometry, body) -> None:
    unroll = max(n for n in range(1, g.head_unroll + 1) if g.kv_heads % n == 0)

    def several(j: jax.Array, _: None) -> None:
        for k in range(unroll):
            body(j * unroll + k)

    lax.fori_loop(0, g.kv_heads // unroll, several, None)


def _merge_head(
    g: Geometry,
    r: Refs,
    buffer: jax.Array,
    i: jax.Array,
    head: jax.Array,
    position: jax.Array | None,
    start: jax.Array,
    masked: bool,
) -> None:
    q = r.q[i, head]
    kv = r.kv[buffer, head].astype(q.dtype)
    keys, values = (kv, kv) if g.half < LANES else (kv[:, : g.half], kv[:, g.half :])
    s = _logits(g, _dot(q, keys, 1))
    if position is not None:
        distance = position - (start + lax.broadcasted_iota(jnp.int32, (1, g.block), 1))
        if g.alibi:
            s = s - (_per_head(g, r.slopes, head) * LOG2E) * distance.astype(jnp.float32)
        if masked:
            visible = distance >= 0
            if g.score.window is not None:
                visible &= distance < g.score.window
            s = jnp.where(visible, s, MASKED)
    before = r.top[head, :, :1]
    top = jnp.maximum(before, jnp.max(s, axis=1, keepdims=True))
    p = jnp.exp2(s - top)
    shrink = jnp.exp2(before - top)
    total = r.total[head, :, :1] * shrink + jnp.sum(p, axis=1, keepdims=True)
    r.acc[head] = r.acc[head] * shrink + _dot(p.astype(q.dtype), values, 0)
    r.top[head] = jnp.broadcast_to(top, r.top.shape[1:])
    r.total[head] = jnp.broadcast_to(total, r.total.shape[1:])


def _logits(g: Geometry, s: jax.Array) -> jax.Array:
    score = g.score
    if score.soft_cap is None:
        return s * (score.scale * LOG2E)
    return (score.soft_cap * LOG2E) * jnp.tanh(s * (score.scale / score.soft_cap))


def _dot(x: jax.Array, y: jax.Array, y_axis: int) -> jax.Array:
    precision = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    dims = (((1,), (y_axis,)), ((), ()))
    return lax.dot_general(x, y, dims, precision=precision, preferred_element_type=jnp.float32)


def _store_out(g: Geometry, r: Refs, i: jax.Array) -> None:
    def head(h: jax.Array) -> None:
        total = r.total[h, :, :1]
        r.out[i, h] = (r.acc[h] / jnp.where(total > 0, total, 1.0)).astype(r.out.dtype)

    _for_heads(g, head)
