"""The online softmax of the TPU attention kernel, in units of log2. A tile's state stays in vector memory."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from pallas_kernels.paged_attention.layout import LANES
from pallas_kernels.paged_attention.mosaic_tpu.fetch import Item, rows_of
from pallas_kernels.paged_attention.mosaic_tpu.refs import Geometry, Refs, for_heads

LOG2E = math.log2(math.e)
# A masked score is so far below an empty maximum that its weight is 0, before any key was seen too.
EMPTY, MASKED = -1e30, -2e30


def init_softmax(g: Geometry, r: Refs) -> None:
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


def merge_block(
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
            keep = _readable(g, item, begin) if masked else None
            _merge_head(g, r, buffer, i, h, begin, position() if masked or r.slopes is not None else None, keep)

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
    keep: jax.Array | None,
) -> None:
    """keep: the rows of values that may be read, None: all, and no score needs a mask either."""
    q = r.q[i, head]
    kv = rows_of(g.plan, r.f.kv, buffer, head).astype(q.dtype)
    keys, values = (kv, kv) if g.half < LANES else (kv[:, : g.half], kv[:, g.half :])
    if keep is not None:
        values = jnp.where(keep, values, jnp.zeros_like(values))
    s = _logits(g, _dot(q, keys, 1))
    if position is not None:
        distance = position - (begin + lax.broadcasted_iota(jnp.int32, (1, g.plan.block), 1))
        if r.slopes is not None:
            s = s - (_per_head(g, r.slopes, head) * LOG2E) * distance.astype(jnp.float32)
        if keep is not None:
            s = jnp.where(_visible(g, distance), s, MASKED)
    before = r.top[head]
    top = jnp.maximum(before, jnp.max(s, axis=1, keepdims=True))
    p = jnp.exp2(s - _wide(top, g.plan.block))
    shrink = jnp.exp2(before - top)
    acc = r.acc[head] * _wide(shrink, g.lanes) + _dot(p.astype(q.dtype), values, 0)
    if position is not None and keep is not None:
        # A value of another sequence may be NaN, which a weight of 0 would not take away.
        acc = jnp.where(position >= 0, acc, r.acc[head])
    r.acc[head] = acc
    r.top[head] = top
    r.total[head] = r.total[head] * shrink + jnp.sum(p, axis=1, keepdims=True)


def _wide(x: jax.Array, lanes: int) -> jax.Array:
    """x [rows, 128], a row's value in all lanes, with more of them: no lane has to move for it."""
    return jnp.concatenate([x] * (lanes // LANES), axis=1)


def _readable(g: Geometry, item: Item, begin: jax.Array) -> jax.Array:
    """The block's rows that a query sees. Others may hold NaN, and NaN times a weight of 0 would be NaN. [block, 1]"""
    row = begin + lax.broadcasted_iota(jnp.int32, (g.plan.block, 1), 0)
    readable = row <= item.last_key
    return readable if g.score.window is None else readable & (row >= item.first_key)


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


def store_out(g: Geometry, r: Refs, i: jax.Array) -> None:
    def head(h: jax.Array) -> None:
        total = jnp.where(r.total[h] > 0, r.total[h], 1.0)
        r.out[i, h] = (r.acc[h] / _wide(total, g.lanes)).astype(r.out.dtype)

    for_heads(g.kv_heads, g.head_unroll, head)
