"""The attention kernel for TPUs: tiles of queries against blocks of keys from pages.

For decodes a tile is one token, and the kernel writes the token's key and value into its page too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pallas_kernels.paged_attention.layout import LANES
from pallas_kernels.paged_attention.mosaic_tpu_fetch import (
    Fetch,
    Item,
    Plan,
    Scalars,
    divide,
    fetch_next,
    item_of,
    scratch,
    sequences,
    start,
    wait_next,
)
from pallas_kernels.paged_attention.score import ScoreMod

LOG2E = math.log2(math.e)
# A masked score is so far below an empty maximum that its weight is 0, before any key was seen too.
EMPTY, MASKED = -1e30, -2e30
STAGES = 4  # registers of rows on their way back to the pool
SEQUENCE, WRITES = range(2)  # fields of Refs.progress: the sequence that is attended to, rows that were written


@dataclass(frozen=True)
class Geometry:
    """Static sizes. group: rows per token; tiles: of one grid step; half: lanes of a key in a row of the pool."""

    plan: Plan
    kv_heads: int
    group: int
    tiles: int
    half: int
    head_unroll: int
    vmem_limit: int
    score: ScoreMod

    @property
    def rows(self) -> int:
        return self.group * self.plan.tile

    @property
    def lanes(self) -> int:
        """Width of queries and outputs. Half a register of queries meets a whole row, zeros on the value's side."""
        return max(self.half, LANES)

    @property
    def writes(self) -> bool:
        return not self.plan.chunks


class Refs(NamedTuple):
    """What the kernel's parts share. top, total: [hkv, rows, 128], each value in all lanes; acc [hkv, rows, lanes]."""

    s: Scalars
    f: Fetch
    slopes: jax.Ref | None
    sinks: jax.Ref | None
    q: jax.Ref
    new: Any  # and stage, stage_sem: None unless the kernel writes
    out: jax.Ref
    top: jax.Ref
    total: jax.Ref
    acc: jax.Ref
    progress: jax.Ref
    stage: Any
    stage_sem: Any


def attend(
    g: Geometry,
    scalars: tuple[jax.Array, ...],
    tiles: jax.Array,
    slopes: jax.Array | None,
    sinks: jax.Array | None,
    q: jax.Array,
    new: jax.Array | None,
    table: jax.Array,
    pool: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Outputs like q, and the pool. Rows of tokens that are not the kernel's sequences' hold anything.

    scalars: see Scalars; tiles: Int32[], from the first that the kernel must go through; slopes, sinks float32 [hq];
    q [tiles, hkv, rows, lanes], row = group * tile + token; new [tokens, hkv, 2 * half], for decodes;
    table [s, c, 128]; pool as in layout.FUSED_AXES.
    """
    per_head = [x for x in (slopes, sinks) if x is not None]
    news = [] if new is None else [new]
    whole, in_smem = pl.BlockSpec(memory_space=pl.ANY), pl.BlockSpec(memory_space=pltpu.SMEM)
    q_spec = _tiles_of(g, q)
    out_shape = [jax.ShapeDtypeStruct(q.shape, q.dtype)]
    if g.writes:
        out_shape.append(jax.ShapeDtypeStruct(pool.shape, pool.dtype))
    operands = [*scalars, *per_head, q, *news, table, pool]
    result = pl.pallas_call(
        partial(_kernel, g, slopes is not None, sinks is not None),
        out_shape=out_shape,
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(scalars),
            grid=(jnp.maximum(pl.cdiv(tiles, g.tiles), 1),),
            in_specs=[*(in_smem for _ in per_head), q_spec, *(_tiles_of(g, x) for x in news), whole, whole],
            out_specs=[q_spec, whole][: len(out_shape)],
            scratch_shapes=[*scratch(g.plan, table, pool), *_softmax_scratch(g), *_write_scratch(g, pool)],
        ),
        input_output_aliases={len(operands) - 1: 1} if g.writes else {},
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("arbitrary",), vmem_limit_bytes=g.vmem_limit, disable_bounds_checks=True
        ),
        name="paged_attention_decode" if g.writes else "paged_attention_chunk",
    )(*operands)
    return (result[0], result[1]) if g.writes else (result[0], pool)


def _tiles_of(g: Geometry, x: jax.Array) -> pl.BlockSpec:
    return pl.BlockSpec((g.tiles, *x.shape[1:]), lambda i, *_: (i, *(0 for _ in x.shape[1:])))


def _softmax_scratch(g: Geometry) -> list[Any]:
    state = pltpu.VMEM((g.kv_heads, g.rows, LANES), jnp.float32)
    return [state, state, pltpu.VMEM((g.kv_heads, g.rows, g.lanes), jnp.float32), pltpu.SMEM((2,), jnp.int32)]


def _write_scratch(g: Geometry, pool: jax.Array) -> list[Any]:
    if not g.writes:
        return []
    rows = pltpu.VMEM((STAGES, g.kv_heads, sublanes(pool.dtype), pool.shape[-1]), pool.dtype)
    return [rows, pltpu.SemaphoreType.DMA((STAGES,))]


def sublanes(dtype: jnp.dtype) -> int:
    """Rows of a register: what a copy to or from a page must be aligned to."""
    return 32 // jnp.dtype(dtype).itemsize


def _kernel(g: Geometry, has_slopes: bool, has_sinks: bool, *refs: jax.Ref) -> None:
    rest: list[Any] = list(refs)
    scalars = Scalars(*(rest.pop(0) for _ in Scalars._fields))
    slopes, sinks = (rest.pop(0) if there else None for there in (has_slopes, has_sinks))
    q, new = rest.pop(0), rest.pop(0) if g.writes else None
    table, pool, out = rest.pop(0), rest.pop(0), rest.pop(0)
    pool = rest.pop(0) if g.writes else pool
    fetch = Fetch(table, pool, *(rest.pop(0) for _ in Fetch._fields[2:]))
    top, total, acc, progress, *stage = rest
    r = Refs(scalars, fetch, slopes, sinks, q, new, out, top, total, acc, progress, *(stage or (None, None)))

    @pl.when(pl.program_id(0) == 0)
    def _begin() -> None:
        r.progress[SEQUENCE], r.progress[WRITES] = sequences(g.plan, r.s)[0], 0
        start(g.plan, r.s, r.f)

    @pl.loop(0, g.tiles)
    def _tile(i: jax.Array) -> None:
        _attend_tile(g, r, pl.program_id(0) * g.tiles + i, i)

    if g.writes:
        pl.when(pl.program_id(0) == pl.num_programs(0) - 1)(lambda: _finish_writes(r))


def _attend_tile(g: Geometry, r: Refs, tile: jax.Array, i: jax.Array) -> None:
    """i: the tile's place in the grid step."""
    _init_softmax(g, r)
    end = (tile + 1) * g.plan.tile
    _, last_sequence = sequences(g.plan, r.s)

    def more(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        sequence, left = state
        return (left == 0) & (sequence < last_sequence) & (r.s.cu_q_lens[sequence] < end)

    def item(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        sequence, _ = state
        _attend_item(g, r, tile, i, item_of(g.plan, r.s, tile, sequence))
        finished = (r.s.cu_q_lens[sequence + 1] <= end).astype(jnp.int32)
        return sequence + finished, 1 - finished

    r.progress[SEQUENCE], _ = lax.while_loop(more, item, (r.progress[SEQUENCE], jnp.int32(0)))
    _store_out(g, r, i)


def _attend_item(g: Geometry, r: Refs, tile: jax.Array, i: jax.Array, item: Item) -> None:
    first, last = item.blocks(g.plan.block)

    @pl.loop(first, last)
    def _block(b: jax.Array) -> None:
        fetch_next(g.plan, r.s, r.f)
        buffer = wait_next(g.plan, r.s, r.f)
        begin = b * g.plan.block
        if g.writes:
            pl.when(b == last - 1)(lambda: _write_token(g, r, buffer, i, item.last_key - begin))

        @pl.when((begin < item.first_key) | (begin + g.plan.block > item.last_key + 1))
        def _edge() -> None:
            _clean(g, r, buffer, item.first_key - begin, item.last_key - begin)

        _merge_block(g, r, buffer, i, tile * g.plan.tile, item, begin)


def for_heads(kv_heads: int, unroll: int, body: Callable[[jax.Array], None]) -> None:
    """body(head) for every head, as many interleaved as divide the heads and are at most `unroll`."""
    several = max(n for n in range(1, unroll + 1) if kv_heads % n == 0)

    @pl.loop(0, kv_heads // several)
    def _group(j: jax.Array) -> None:
        for k in range(several):
            body(j * several + k)


# The new token of a decode.


def _write_token(g: Geometry, r: Refs, buffer: jax.Array, i: jax.Array, place: jax.Array) -> None:
    """Put the token's row into its place in the buffer, and copy the registers that it lies in to its page."""
    rows = r.stage.shape[2]
    aligned = pl.multiple_of(divide(place, rows) * rows, rows)
    stage = lax.rem(r.progress[WRITES], STAGES)
    page = r.f.pages[buffer, divide(place, g.plan.page)]

    pl.when(r.progress[WRITES] >= STAGES)(lambda: _copy_stage(r, stage, page, jnp.int32(0)).wait())
    here = lax.broadcasted_iota(jnp.int32, (rows, 1), 0) == place - aligned
    for head in range(g.kv_heads):
        row = r.new[i, head : head + 1]
        merged = jnp.where(here, row, r.f.kv[buffer, head, pl.ds(aligned, rows)])
        r.f.kv[buffer, head, pl.ds(aligned, rows)] = merged
        r.stage[stage, head] = merged
    _copy_stage(r, stage, page, lax.rem(aligned, g.plan.page)).start()
    r.progress[WRITES] += 1


def _copy_stage(r: Refs, stage: jax.Array | int, page: jax.Array | int, slot: jax.Array):
    rows = r.stage.shape[2]
    target = r.f.pool.at[r.s.layer[0], page, :, pl.ds(pl.multiple_of(slot, rows), rows)]
    return pltpu.make_async_copy(r.stage.at[stage], target, r.stage_sem.at[stage])


def _finish_writes(r: Refs) -> None:
    @pl.loop(0, jnp.minimum(r.progress[WRITES], STAGES))
    def _stage(stage: jax.Array) -> None:
        _copy_stage(r, stage, 0, jnp.int32(0)).wait()


# The online softmax, in units of log2.


def _init_softmax(g: Geometry, r: Refs) -> None:
    r.acc[...] = jnp.zeros_like(r.acc)
    r.total[...] = jnp.full_like(r.total, 0.0 if r.sinks is None else 1.0)
    if r.sinks is None:
        r.top[...] = jnp.full_like(r.top, EMPTY)
        return
    for head in range(g.kv_heads):
        r.top[head] = jnp.broadcast_to(_per_head(g, r.sinks, head) * LOG2E, r.top.shape[1:])


def _per_head(g: Geometry, values: jax.Ref, head: jax.Array | int) -> jax.Array:
    """values [hq] of the query heads that the rows belong to, [rows, 1]."""
    member = lax.broadcasted_iota(jnp.int32, (g.rows, 1), 0) >> (g.plan.tile.bit_length() - 1)
    column = jnp.full((g.rows, 1), values[head * g.group], jnp.float32)
    for m in range(1, g.group):
        column = jnp.where(member >= m, values[head * g.group + m], column)
    return column


def _clean(g: Geometry, r: Refs, buffer: jax.Array, first: jax.Array, last: jax.Array) -> None:
    """Zero the rows that no query sees: they may hold NaN, and NaN times a weight of 0 would be NaN."""
    row = lax.broadcasted_iota(jnp.int32, (g.plan.block, 1), 0)
    keep = (row >= first) & (row <= last)

    def head(h: jax.Array) -> None:
        rows = r.f.kv[buffer, h]
        r.f.kv[buffer, h] = jnp.where(keep, rows, jnp.zeros_like(rows))

    for_heads(g.kv_heads, 1, head)


def _merge_block(
    g: Geometry, r: Refs, buffer: jax.Array, i: jax.Array, tile_begin: jax.Array, item: Item, begin: jax.Array
) -> None:
    """Add the block of keys from position `begin` to the softmax of the item's rows; other rows keep theirs."""
    whole = (item.begin == tile_begin) & (item.end == tile_begin + g.plan.tile)
    whole &= begin + g.plan.block - 1 <= item.begin + item.shift
    if g.score.window is not None:
        whole &= begin > item.last_key - g.score.window

    def position() -> jax.Array:
        """Of each row's token; -1 where the row is not the item's. [rows, 1]"""
        token = tile_begin + (lax.broadcasted_iota(jnp.int32, (g.rows, 1), 0) & (g.plan.tile - 1))
        return jnp.where((token >= item.begin) & (token < item.end), token + item.shift, -1)

    def heads(masked: bool) -> None:
        def head(h: jax.Array) -> None:
            _merge_head(g, r, buffer, i, h, begin, position() if masked or r.slopes is not None else None, masked)

        for_heads(g.kv_heads, g.head_unroll, head)

    pl.when(whole)(partial(heads, False))
    pl.when(jnp.logical_not(whole))(partial(heads, True))


def _merge_head(
    g: Geometry,
    r: Refs,
    buffer: jax.Array,
    i: jax.Array,
    head: jax.Array,
    begin: jax.Array,
    position: jax.Array | None,
    masked: bool,
) -> None:
    q = r.q[i, head]
    kv = r.f.kv[buffer, head].astype(q.dtype)
    keys, values = (kv, kv) if g.half < LANES else (kv[:, : g.half], kv[:, g.half :])
    s = _logits(g, _dot(q, keys, 1))
    if position is not None:
        distance = position - (begin + lax.broadcasted_iota(jnp.int32, (1, g.plan.block), 1))
        if r.slopes is not None:
            s = s - (_per_head(g, r.slopes, head) * LOG2E) * distance.astype(jnp.float32)
        if masked:
            s = jnp.where(_visible(g, distance), s, MASKED)
    before = r.top[head, :, :1]
    top = jnp.maximum(before, jnp.max(s, axis=1, keepdims=True))
    p = jnp.exp2(s - top)
    shrink = jnp.exp2(before - top)
    acc = r.acc[head] * shrink + _dot(p.astype(q.dtype), values, 0)
    if position is not None and masked:
        # A value of another sequence may be NaN, which a weight of 0 would not take away.
        acc = jnp.where(position >= 0, acc, r.acc[head])
    r.acc[head] = acc
    r.top[head] = jnp.broadcast_to(top, r.top.shape[1:])
    total = r.total[head, :, :1] * shrink + jnp.sum(p, axis=1, keepdims=True)
    r.total[head] = jnp.broadcast_to(total, r.total.shape[1:])


def _visible(g: Geometry, distance: jax.Array) -> jax.Array:
    visible = distance >= 0
    return visible if g.score.window is None else visible & (distance < g.score.window)


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

    for_heads(g.kv_heads, g.head_unroll, head)
