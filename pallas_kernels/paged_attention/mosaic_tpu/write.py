"""The kernel that puts the keys and values of chunks into their pages on TPUs.

A page's registers hold several slots, so pages are read, merged in vector memory and written back. The tokens of the
step lie at another offset from a register's start than their slots do: a 0-1 matrix moves them, which is exact.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pallas_kernels.paged_attention.mosaic_tpu.fetch import (
    Fetch,
    Item,
    Plan,
    Scalars,
    divide,
    fetch_next,
    item_of,
    page_range,
    rows_of,
    scratch,
    sequences,
    start,
    wait_next,
)
from pallas_kernels.paged_attention.mosaic_tpu.refs import for_heads, sublanes

STAGES = 2  # blocks on their way back to the pool
HEADS = 4  # that the compiler may interleave
# One tile holds all tokens of the step: an item is a whole chunk.
WHOLE_STEP = 1 << 30


def write_plan(page: int, block: int, buffers: int) -> Plan:
    return Plan(WHOLE_STEP, page, max(block, page), buffers, chunks=True, old=False, window=None)


class Refs(NamedTuple):
    """What the kernel's parts share: rows in HBM, in vector memory, and finished blocks with their pages' number."""

    s: Scalars
    f: Fetch
    rows: jax.Ref
    near: jax.Ref
    near_sem: jax.Ref
    stage: jax.Ref
    staged: jax.Ref
    stage_sem: jax.Ref


def write_chunks(
    plan: Plan, scalars: tuple[jax.Array, ...], rows: jax.Array, table: jax.Array, pool: jax.Array, vmem_limit: int
) -> jax.Array:
    """The pool (layout.FUSED_AXES) with rows [hkv, t, 2 * half] of the chunks' tokens in their pages.

    scalars: see Scalars; table [s, c, 128].
    """
    kv_heads, _, row = pool.shape[2:]
    near = plan.block + sublanes(rows.dtype)  # a block's tokens, from an aligned one on
    rows = jnp.pad(rows, ((0, 0), (0, near + -rows.shape[1] % sublanes(rows.dtype)), (0, 0)))
    whole = pl.BlockSpec(memory_space=pl.ANY)
    return pl.pallas_call(
        partial(_kernel, plan),
        out_shape=jax.ShapeDtypeStruct(pool.shape, pool.dtype),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(scalars),
            grid=(1,),
            in_specs=[whole, pl.BlockSpec(memory_space=pltpu.HBM), whole],
            out_specs=whole,
            scratch_shapes=[
                *scratch(plan, table, pool),
                pltpu.VMEM((plan.buffers, kv_heads, near, row), rows.dtype),
                pltpu.SemaphoreType.DMA((plan.buffers,)),
                pltpu.VMEM((STAGES, plan.pages, kv_heads, plan.page, row), pool.dtype),
                pltpu.SMEM((STAGES,), jnp.int32),
                pltpu.SemaphoreType.DMA((STAGES,)),
            ],
        ),
        input_output_aliases={len(scalars) + 2: 0},
        compiler_params=pltpu.CompilerParams(vmem_limit_bytes=vmem_limit, disable_bounds_checks=True),
        name="paged_attention_write",
    )(*scalars, rows, table, pool)


def _kernel(plan: Plan, *refs: jax.Ref) -> None:
    scalars, (rows, table, _, pool), rest = Scalars(*refs[:4]), refs[4:8], refs[8:]
    fetched = len(Fetch._fields) - 2
    r = Refs(scalars, Fetch(table, pool, *rest[:fetched]), rows, *rest[fetched:])
    also = partial(_start_rows, plan, r)
    for stage in range(STAGES):
        r.staged[stage] = 0
    start(plan, r.s, r.f, also)

    def sequence(i: jax.Array, done: jax.Array) -> jax.Array:
        item = item_of(plan, r.s, 0, i)

        def block(b: jax.Array, done: jax.Array) -> jax.Array:
            fetch_next(plan, r.s, r.f, also)
            _write_block(plan, r, item, b, lax.rem(done, STAGES))
            return done + 1

        return lax.fori_loop(*item.blocks(plan.block), block, done)

    lax.fori_loop(*sequences(plan, r.s), sequence, jnp.int32(0))
    for stage in range(STAGES):
        _finish_stage(r, stage)


def _write_block(plan: Plan, r: Refs, item: Item, block: jax.Array, stage: jax.Array) -> None:
    buffer = wait_next(plan, r.s, r.f)
    _copy_rows(plan, r, item, block, buffer).wait()
    _finish_stage(r, stage)
    begin, end = page_range(plan, item, block)
    _merge(plan, r, item, block, buffer, stage)

    @pl.loop(begin, end)
    def _page(place: jax.Array) -> None:
        _copy_page(r, stage, r.f.pages[buffer, place], place).start()

    r.staged[stage] = end - begin


def _merge(plan: Plan, r: Refs, item: Item, block: jax.Array, buffer: jax.Array, stage: jax.Array) -> None:
    """stage: the buffer's rows, those of the item's tokens replaced."""
    exact = jnp.float32 if r.near.dtype == jnp.float32 else jnp.bfloat16
    size, near = plan.block, r.near.shape[2]
    first = _first_row(plan, r, item, block)

    def ours(token: jax.Array) -> jax.Array:
        return (token >= item.begin) & (token < item.end)

    token = block * plan.block - item.shift + lax.broadcasted_iota(jnp.int32, (size, 1), 0)
    move = token == first + lax.broadcasted_iota(jnp.int32, (size, near), 1)
    move = move.astype(jnp.float32).astype(exact)
    precision = lax.Precision.HIGHEST if exact == jnp.float32 else None

    def head(h: jax.Array) -> None:
        rows = r.near[buffer, h].astype(jnp.float32)
        # Others' rows may hold NaN, which 0 would not take away.
        rows = jnp.where(ours(first + lax.broadcasted_iota(jnp.int32, (near, 1), 0)), rows, 0.0)
        rows = lax.dot(move, rows.astype(exact), precision=precision, preferred_element_type=jnp.float32)
        old = rows_of(plan, r.f.kv, buffer, h).astype(jnp.float32)
        merged = jnp.where(ours(token), rows, old).astype(r.stage.dtype)
        r.stage[stage, :, h] = merged.reshape(plan.pages, plan.page, -1)

    for_heads(r.stage.shape[2], HEADS, head)


def _first_row(plan: Plan, r: Refs, item: Item, block: jax.Array) -> jax.Array:
    """The aligned token from which on the block's tokens are brought near."""
    aligned = sublanes(r.rows.dtype)
    return pl.multiple_of(divide(jnp.maximum(block * plan.block - item.shift, 0), aligned) * aligned, aligned)


def _start_rows(plan: Plan, r: Refs, item: Item, block: jax.Array, buffer: jax.Array) -> None:
    _copy_rows(plan, r, item, block, buffer).start()


def _copy_rows(plan: Plan, r: Refs, item: Item, block: jax.Array, buffer: jax.Array):
    window = r.rows.at[:, pl.ds(_first_row(plan, r, item, block), r.near.shape[2])]
    return pltpu.make_async_copy(window, r.near.at[buffer], r.near_sem.at[buffer])


def _copy_page(r: Refs, stage: jax.Array | int, page: jax.Array | int, place: jax.Array | int):
    return pltpu.make_async_copy(r.stage.at[stage, place], r.f.pool.at[r.s.layer[0], page], r.stage_sem.at[stage])


def _finish_stage(r: Refs, stage: jax.Array | int) -> None:
    """Wait until the stage's pages are in the pool."""

    @pl.loop(0, r.staged[stage])
    def _page(_: jax.Array) -> None:
        _copy_page(r, stage, 0, 0).wait()
