"""The consumers of the Hopper kernel for chunks: an online softmax over tiles of keys, 64 rows a warpgroup."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention.mosaic_gpu.chunk_refs import ALIGNED_ROWS, ROWS, Buffers, Context, Item, Rows
from pallas_kernels.paged_attention.mosaic_gpu.tiles import (
    LOG2E,
    LOWEST,
    WGMMA,
    accumulator,
    add_product,
    clear_unseen,
    filled,
    logit_unit,
    logits,
    product,
)

PER_ROW = WGMMA.reduce(1)


class _State(NamedTuple):
    """The online softmax of a consumer's rows: values in parts of `width` columns, maximum and sum of each row."""

    values: tuple[jax.Array, ...]
    top: jax.Array
    total: jax.Array
    done: jax.Array  # tiles so far


def attend(context: Context, rows: Rows, out: Any, consumer: Any, turn: jax.Array, done: jax.Array) -> jax.Array:
    """A consumer's part of an item."""
    buffers, shape, it = context.buffers, context.shape, context.item(turn)
    mine = pl.ds(it.start + consumer * ROWS, ROWS)

    def of_rows(ref: Any) -> jax.Array:
        loaded: jax.Array = plgpu.load(ref, layout=PER_ROW, optimized=False)
        return loaded

    position = of_rows(rows.position.at[mine])
    slope = None if rows.slope is None else of_rows(rows.slope.at[it.head, mine]) * LOG2E
    unit = logit_unit(context.score, slope is not None)
    top, total = filled((ROWS,), LOWEST, PER_ROW), filled((ROWS,), 0.0, PER_ROW)
    if rows.sink is not None:
        top = of_rows(rows.sink.at[it.head, mine]) * (LOG2E / unit)
        total = filled((ROWS,), 1.0, PER_ROW)
    values = (filled((ROWS, shape.width), 0.0, WGMMA),) * (shape.head_dim // shape.width)
    state = _State(values, top, total, done)
    plgpu.barrier_wait(buffers.q_full)

    @pl.when(consumer == 1)
    def _wait_for_the_first_turn() -> None:
        pass_turn(buffers)

    merge = partial(_merge_tile, context, it, consumer, position, slope)
    if context.score.window is None:
        state = lax.fori_loop(it.first_tile, it.whole_tiles, partial(merge, False), state)
    state = lax.fori_loop(it.whole_tiles, it.end_tile, partial(merge, True), state)

    @pl.when(consumer == 0)
    def _give_up_the_last_turn() -> None:
        pass_turn(buffers)

    scale = 1.0 / jnp.where(state.total > 0, state.total, 1.0)
    for i, part in enumerate(state.values):
        staged = buffers.q.at[consumer, :, pl.ds(i * shape.width, shape.width)]
        staged[...] = (part * _columns(scale, part.shape)).astype(out.dtype)
    plgpu.commit_smem()
    _store(buffers.q.at[consumer], out.at[it.head], it.start + consumer * ROWS, it.stop)
    plgpu.wait_smem_to_gmem(0)
    plgpu.barrier_arrive(buffers.q_free)
    return state.done


def _store(staged: Any, out: Any, first_row: jax.Array, stop: jax.Array) -> None:
    """The rows up to `stop` to GMEM; behind it are those of the next sequence."""

    def copy(i: jax.Array, _: None) -> None:
        at = pl.multiple_of(i * ALIGNED_ROWS, ALIGNED_ROWS)
        plgpu.copy_smem_to_gmem(staged.at[pl.ds(at, ALIGNED_ROWS)], out.at[pl.ds(first_row + at, ALIGNED_ROWS)])

    rows = jnp.clip(stop - first_row, 0, ROWS)
    lax.fori_loop(0, lax.div(rows, jnp.int32(ALIGNED_ROWS)), copy, None)


def _merge_tile(
    context: Context, it: Item, consumer: Any, position: jax.Array, slope: jax.Array | None, masked: bool,
    tile: jax.Array, state: _State,
) -> _State:  # fmt: skip
    """The state with a tile of keys added. masked: some row may not see some of its keys."""
    buffers, shape, score = context.buffers, context.shape, context.score
    # A zero that the compiler does not know: addresses that stay the same it would compute before the loop, for every
    # 16 columns of a product, and keep in registers that heads of 256 do not have.
    zero = jnp.minimum(state.done, 0)
    stage = lax.rem(state.done, jnp.int32(shape.stages)) + zero
    mine = consumer + zero
    first_key = tile * shape.pages.tile
    plgpu.barrier_wait(buffers.k_full.at[stage])

    def scores(sums: Any) -> Any:
        plgpu.wgmma(sums, buffers.q.at[mine], buffers.k.at[stage].transpose((1, 0)))
        pass_turn(buffers)
        return sums[...]

    s = pl.run_scoped(scores, accumulator((ROWS, shape.pages.tile)))
    plgpu.barrier_arrive(buffers.k_free.at[stage])
    key = plgpu.broadcasted_iota(jnp.int32, s.shape, 1, layout=WGMMA) + first_key
    distance = _columns(position, s.shape) - key
    s = logits(s, score, None if slope is None else _columns(slope, s.shape), distance)
    if masked:
        visible = distance >= 0
        visible = visible if score.window is None else visible & (distance < score.window)
        s = jnp.where(visible, s, LOWEST)
    top = jnp.maximum(state.top, s.max(axis=1))
    unit = logit_unit(score, slope is not None)
    shrink = jnp.exp2((state.top - top) * unit)
    p = jnp.exp2((s - _columns(top, s.shape)) * unit)
    total = state.total * shrink + p.sum(axis=1)
    weights = p.astype(buffers.q.dtype)
    values = tuple(old * _columns(shrink, old.shape) for old in state.values)
    values, top, total, weights = lax.optimization_barrier((values, top, total, weights))
    if buffers.weights is not None:
        buffers.weights[mine] = weights
        plgpu.commit_smem()
    if masked:
        plgpu.barrier_wait(buffers.v_full.at[stage])
        _clear_edges(context, it, consumer, stage, first_key)
    plgpu.barrier_arrive(buffers.turn)
    if not masked:
        plgpu.barrier_wait(buffers.v_full.at[stage])
    plgpu.barrier_wait(buffers.turn)
    parts = (buffers.v.at[stage, :, pl.ds(i * shape.width, shape.width)] for i in range(len(values)))
    if buffers.weights is None:
        values = tuple(add_product(old, weights, part) for old, part in zip(values, parts, strict=True))
    else:
        staged = buffers.weights.at[mine]
        values = tuple(old + product(staged, part, old.shape) for old, part in zip(values, parts, strict=True))
    plgpu.barrier_arrive(buffers.v_free.at[stage])
    return _State(values, top, total, state.done + 1)


def _clear_edges(context: Context, it: Item, consumer: Any, stage: jax.Array, first_key: jax.Array) -> None:
    """Values that no row sees may be NaN. The first consumer clears them for both."""
    edge = (first_key < it.begin) | (first_key + context.shape.pages.tile > it.end)

    @pl.when(edge & (consumer == 0))
    def _clear() -> None:
        clear_unseen(context.buffers.v.at[stage], first_key, it.begin, it.end)
        plgpu.barrier_arrive(context.buffers.cleared)

    @pl.when(edge & (consumer == 1))
    def _wait() -> None:
        plgpu.barrier_wait(context.buffers.cleared)


def _columns(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """A value per row, repeated along the columns."""
    return lax.broadcast_in_dim(x, shape, [0])


def pass_turn(buffers: Buffers) -> None:
    plgpu.barrier_arrive(buffers.turn)
    plgpu.barrier_wait(buffers.turn)
