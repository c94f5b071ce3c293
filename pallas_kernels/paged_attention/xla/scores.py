"""Attention of tiles of queries: scores of one block of keys after the other, into an online softmax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from pallas_kernels.paged_attention.xla.call import Call
from pallas_kernels.paged_attention.xla.exact import dot_nt, pad_rows
from pallas_kernels.paged_attention.xla.pages import block_pages, read_block
from pallas_kernels.paged_attention.xla.softmax import LOG2E, LOWEST, Softmax, add_block, add_sinks, empty, result
from pallas_kernels.paged_attention.xla.span import Span, block_of, span_of
from pallas_kernels.paged_attention.xla.tiles import Tiles


def attend(call: Call, q: jax.Array, tiles: Tiles) -> jax.Array:
    """q [n, tokens, hq, d], the tiles' queries -> float32 of the same shape."""
    width, tokens, q_heads, head_dim = q.shape
    sizes = call.layout.sizes(call.pool)
    kv_heads, group = sizes["kv_head"], q_heads // sizes["kv_head"]
    block = call.config.pages_per_block(sizes["slot"]) * sizes["slot"]
    span = span_of(call.sequences, tiles, tokens, call.score.window)
    first_block = span.begin // block
    blocks = span.last // block + 1 - first_block
    queries = q.reshape(width, tokens, kv_heads, group, head_dim).swapaxes(1, 2)
    queries = pad_rows(queries.reshape(width * kv_heads, tokens * group, head_dim))

    def merge(j: jax.Array, state: Softmax) -> Softmax:
        return _merge_block(call, span, queries, first_block + j, state)

    state = lax.fori_loop(0, jnp.max(blocks), merge, empty((width, kv_heads, tokens, group), head_dim))
    if call.sinks is not None:
        state = add_sinks(state, call.sinks)
    return result(state)


def _merge_block(call: Call, span: Span, queries: jax.Array, block: jax.Array, state: Softmax) -> Softmax:
    """The softmax with the keys and values of block[n] of each tile added. queries [n * hkv, rows, d]."""
    width, kv_heads, tokens, group = state.top.shape
    page_size = call.layout.sizes(call.pool)["slot"]
    pages = call.config.pages_per_block(page_size)
    held, distance, visible = block_of(span, block, pages * page_size, call.score)
    held = held.reshape(width, pages, page_size)
    ids = block_pages(span.table, block, held)
    keys, values = (x.reshape(width * kv_heads, pages * page_size, -1) for x in read_block(call, ids, held))
    s = dot_nt(queries, keys)[:, : tokens * group].reshape(*state.top.shape, pages * page_size)
    # The barrier keeps the mask from being worked out twice.
    s = lax.optimization_barrier(jnp.where(visible[:, None, :, None, :], _logits(s, distance, call), LOWEST))
    return add_block(state, s, values)


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
