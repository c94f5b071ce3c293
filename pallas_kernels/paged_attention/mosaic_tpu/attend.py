"""The attention kernel for TPUs: tiles of queries against blocks of keys from pages.

For decodes a tile is one token, and the kernel writes the token's key and value into its page too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pallas_kernels.paged_attention.mosaic_tpu.fetch import (
    Fetch,
    Item,
    Scalars,
    divide,
    fetch_next,
    item_of,
    scratch,
    sequences,
    start,
    wait_next,
)
from pallas_kernels.paged_attention.mosaic_tpu.refs import (
    SEQUENCE,
    STAGES,
    WRITES,
    Geometry,
    Refs,
    softmax_scratch,
    write_scratch,
)
from pallas_kernels.paged_attention.mosaic_tpu.softmax import init_softmax, merge_block, store_out


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
    in_hbm, in_smem = pl.BlockSpec(memory_space=pltpu.HBM), pl.BlockSpec(memory_space=pltpu.SMEM)
    whole = pl.BlockSpec(memory_space=pl.ANY)
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
            in_specs=[*(in_smem for _ in per_head), q_spec, *(_tiles_of(g, x) for x in news), in_hbm, whole],
            out_specs=[q_spec, whole][: len(out_shape)],
            scratch_shapes=[*scratch(g.plan, table, pool), *softmax_scratch(g), *write_scratch(g, pool)],
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
    init_softmax(g, r)
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
    store_out(g, r, i)


def _attend_item(g: Geometry, r: Refs, tile: jax.Array, i: jax.Array, item: Item) -> None:
    first, last = item.blocks(g.plan.block)

    @pl.loop(first, last)
    def _block(b: jax.Array) -> None:
        fetch_next(g.plan, r.s, r.f)
        buffer = wait_next(g.plan, r.s, r.f)
        begin = b * g.plan.block
        if g.writes:
            pl.when(b == last - 1)(lambda: _write_token(g, r, buffer, i, item.last_key - begin))
        merge_block(g, r, buffer, i, tile * g.plan.tile, item, begin)


def _write_token(g: Geometry, r: Refs, buffer: jax.Array, i: jax.Array, place: jax.Array) -> None:
    """Put the token's row into its place in the buffer, and copy the registers that it lies in to its page."""
    rows = r.stage.shape[2]
    in_block, slot = divide(place, g.plan.page), lax.rem(place, g.plan.page)
    aligned = pl.multiple_of(divide(slot, rows) * rows, rows)
    stage = lax.rem(r.progress[WRITES], STAGES)
    page = r.f.pages[buffer, in_block]

    pl.when(r.progress[WRITES] >= STAGES)(lambda: _copy_stage(r, stage, page, jnp.int32(0)).wait())
    here = lax.broadcasted_iota(jnp.int32, (rows, 1), 0) == slot - aligned
    for head in range(g.kv_heads):
        row = r.new[i, head : head + 1]
        merged = jnp.where(here, row, r.f.kv[buffer, in_block, head, pl.ds(aligned, rows)])
        r.f.kv[buffer, in_block, head, pl.ds(aligned, rows)] = merged
        r.stage[stage, head] = merged
    _copy_stage(r, stage, page, aligned).start()
    r.progress[WRITES] += 1


def _copy_stage(r: Refs, stage: jax.Array | int, page: jax.Array | int, slot: jax.Array):
    rows = r.stage.shape[2]
    target = r.f.pool.at[r.s.layer[0], page, :, pl.ds(pl.multiple_of(slot, rows), rows)]
    return pltpu.make_async_copy(r.stage.at[stage], target, r.stage_sem.at[stage])


def _finish_writes(r: Refs) -> None:
    @pl.loop(0, jnp.minimum(r.progress[WRITES], STAGES))
    def _stage(stage: jax.Array) -> None:
        _copy_stage(r, stage, 0, jnp.int32(0)).wait()
