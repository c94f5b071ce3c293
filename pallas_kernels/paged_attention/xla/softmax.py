"""Attention of tiles of queries: an online softmax over blocks of keys."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pallas_kernels.paged_attention.xla.call import Call, Tiles
from pallas_kernels.paged_attention.xla.exact import dot_nt, dot_values, pad_rows, power_of_two, row_sums
from pallas_kernels.paged_attention.xla.pages import block_pages, read_block

# Exponents start far below any score, yet differences of two of them do not overflow.
LOWEST = -1e30
LOG2E = math.log2(math.e)


class _Span(NamedTuple):
    """Where the queries of n tiles stand and what they may see; positions count from the start of the sequence."""

    table: jax.Array  # Int32[n, p], the sequences' page ids
    query: jax.Array  # Int32[n, tokens]
    begin: jax.Array  # Int32[n], the first key that any query of the tile sees
    last: jax.Array  # Int32[n], the last; -1 for a tile without queries


class _Softmax(NamedTuple):
    """An online softmax over the blocks so far: integral maximum (log2), sum [n, hkv, tokens, g], values [..., d]."""

    top: jax.Array
    total: jax.Array
    acc: jax.Array


def attend(call: Call, q: jax.Array, tiles: Tiles) -> jax.Array:
    """q [n, tokens, hq, d], the tiles' queries -> float32 of the same shape."""
    width, tokens, q_heads, head_dim = q.shape
    sizes = call.layout.sizes(call.pool)
    kv_heads, group = sizes["kv_head"], q_heads // sizes["kv_head"]
    block = call.config.pages_per_block(sizes["slot"]) * sizes["slot"]
    span = _span(call, tiles, tokens)
    first_block = span.begin // block
    blocks = span.last // block + 1 - first_block
    queries = q.reshape(width, tokens, kv_heads, group, head_dim).swapaxes(1, 2)
    queries = pad_rows(queries.reshape(width * kv_heads, tokens * group, head_dim))

    def merge(j: jax.Array, state: _Softmax) -> _Softmax:
        return _merge_block(call, span, queries, first_block + j, state)

    shape = (width, kv_heads, tokens, group)
    state = _Softmax(jnp.full(shape, LOWEST), jnp.zeros(shape), jnp.zeros((*shape, head_dim)))
    state = lax.fori_loop(0, jnp.max(blocks), merge, state)
    if call.sinks is not None:
        state = _add_sinks(state, call.sinks)
    out = state.acc / jnp.where(state.total > 0, state.total, 1.0)[..., None]
    return out.swapaxes(1, 2).reshape(width, tokens, q_heads, head_dim)


def _span(call: Call, tiles: Tiles, tokens: int) -> _Span:
    sequence, window = tiles.sequence, call.score.window
    first = call.sequences.kv_lens[sequence] - call.sequences.cu_q_lens[sequence + 1] + tiles.start
    return _Span(
        table=call.sequences.page_table[sequence],
        query=first[:, None] + jnp.arange(tokens, dtype=jnp.int32)[None, :],
        begin=jnp.zeros_like(first) if window is None else jnp.maximum(first - window + 1, 0),
        last=jnp.where(tiles.length > 0, first + tiles.length - 1, -1),
    )


def _merge_block(call: Call, span: _Span, queries: jax.Array, block: jax.Array, state: _Softmax) -> _Softmax:
    """The softmax with the keys and values of block[n] of each tile added. queries [n * hkv, rows, d]."""
    width, kv_heads, tokens, group = state.top.shape
    page_size = call.layout.sizes(call.pool)["slot"]
    pages = call.config.pages_per_block(page_size)
    keys_in_block = pages * page_size
    k_pos = block[:, None] * keys_in_block + jnp.arange(keys_in_block, dtype=jnp.int32)[None, :]
    held = (k_pos >= span.begin[:, None]) & (k_pos <= span.last[:, None])
    ids = block_pages(span.table, block, held.reshape(width, pages, page_size))
    keys, values = (
        x.reshape(width * kv_heads, keys_in_block, -1)
        for x in read_block(call, ids, held.reshape(width, pages, page_size))
    )
    distance = span.query[:, :, None] - k_pos[:, None, :]
    visible = held[:, None, :] & (distance >= 0)
    if call.score.window is not None:
        visible &= distance < call.score.window
    if call.score.chunk is not None:
        visible &= k_pos[:, None, :] >= span.query[:, :, None] // call.score.chunk * call.score.chunk
    visible = visible[:, None, :, None, :]

    rows = tokens * group
    s = dot_nt(queries, keys)[:, :rows].reshape(*state.top.shape, keys_in_block)
    # The barrier keeps the mask from being worked out twice. A row that has seen no key yet adds up arbitrary values,
    # but its maximum is LOWEST: the first key that it sees scales all of that to 0.
    s = lax.optimization_barrier(jnp.where(visible, _logits(s, distance, call), LOWEST))
    top = jnp.maximum(state.top, jnp.ceil(jnp.max(s, axis=-1)))
    p = jnp.exp2(s - top[..., None]).astype(values.dtype)
    p = pad_rows(p.reshape(width * kv_heads, rows, keys_in_block))
    shrink = power_of_two(state.top - top)
    return _Softmax(
        top,
        state.total * shrink + row_sums(p)[:, :rows].reshape(state.total.shape),
        state.acc * shrink[..., None] + dot_values(p, values)[:, :rows].reshape(state.acc.shape),
    )


def _add_sinks(state: _Softmax, sinks: jax.Array) -> _Softmax:
    """The softmax with a logit per query head, sinks [hq], that has no value."""
    _, kv_heads, _, group = state.top.shape
    sink = (sinks * LOG2E).reshape(1, kv_heads, 1, group)
    top = jnp.maximum(state.top, jnp.ceil(sink))
    shrink = power_of_two(state.top - top)
    return _Softmax(top, state.total * shrink + jnp.exp2(sink - top), state.acc * shrink[..., None])


def _logits(s: jax.Array, distance: jax.Array, call: Call) -> jax.Array:
    """q.k [n, hkv, tokens, g, keys] -> logits in units of log2. distance [n, tokens, keys] from key to query."""
    score = call.score
    if score.soft_cap is not None:
        s = (score.soft_cap * LOG2E) * jnp.tanh(s * (score.scale / score.soft_cap))
    else:
        s = s * (score.scale * LOG2E)
    if call.alibi_slopes is not None:
        slopes = (call.alibi_slopes * LOG2E).reshape(1, s.shape[1], 1, s.shape[3], 1)
        s = s - slopes * distance[:, None, :, None, :].astype(jnp.float32)
    return s
