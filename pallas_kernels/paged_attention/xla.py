"""Paged attention in plain XLA: the CPU path, and the fallback everywhere.

Queries are cut into tiles: one token of each decoding sequence, up to chunk_tokens of a chunk. A step handles several
tiles, and for each of them one block of keys after the other, with an online softmax. So the cost follows the
sequences that are there, not the width of the metadata.

A row's result is bitwise the same whatever tile, chunk or batch it is computed in:
- blocks of keys start at multiples of kv_block from token 0, and are merged in order;
- a dot's row does not depend on its other rows as long as there are two (XLA:CPU: bfloat16 always; float32 only with
  both contracted axes minor, "NT"), so single rows are padded and sums over keys are dots, because reductions are
  not independent of the shape;
- the running maximum is rounded up to a power of two, so rescaling is exact and it does not matter whether the
  compiler contracts it to a fused multiply-add.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pallas_kernels.paged_attention.config import XlaConfig
from pallas_kernels.paged_attention.layout import AXES, PoolLayout
from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.step import token_places, write_tokens

CONFIG = XlaConfig()
MIN_ROWS = 2
# Exponents start far below any score, yet differences of two of them do not overflow.
LOWEST = -1e30
LOG2E = math.log2(math.e)


class _Call(NamedTuple):
    """What every tile of a call shares: arrays, then static values."""

    q: jax.Array  # [t, hq, d]
    pool: jax.Array
    layer: jax.Array
    page_table: jax.Array
    kv_lens: jax.Array
    cu_q_lens: jax.Array
    alibi_slopes: jax.Array | None
    sinks: jax.Array | None
    score: ScoreMod
    layout: PoolLayout
    config: XlaConfig


class _Tiles(NamedTuple):
    """n tiles of queries: sequence, first token of the step, number of tokens (0: nothing to do), Int32[n]."""

    sequence: jax.Array
    start: jax.Array
    length: jax.Array


def paged_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pool: jax.Array,
    layer: jax.Array,
    page_table: jax.Array,
    kv_lens: jax.Array,
    cu_q_lens: jax.Array,
    distribution: jax.Array,
    *,
    score: ScoreMod,
    alibi_slopes: jax.Array | None,
    sinks: jax.Array | None,
    layout: PoolLayout,
    config: XlaConfig = CONFIG,
) -> tuple[jax.Array, jax.Array]:
    """See api.paged_attention."""
    places = token_places(q.shape[0], page_table, kv_lens, cu_q_lens, distribution, layout.sizes(pool)["slot"])
    pool = write_tokens(pool, layer, k, v, places, layout)
    call = _Call(
        q, pool, layer, page_table, kv_lens, cu_q_lens, alibi_slopes, sinks, score=score, layout=layout, config=config
    )
    out = _decodes(call, jnp.zeros_like(q), distribution[0])
    if q.shape[0] > 1:
        out = _chunks(call, out, distribution)
    return out, pool


def _decodes(call: _Call, out: jax.Array, num_decodes: jax.Array) -> jax.Array:
    """Sequences of like length share a step: no block of keys is read in vain."""
    sequences = call.kv_lens.shape[0]
    index = jnp.arange(sequences, dtype=jnp.int32)
    length = jnp.where(index < num_decodes, call.kv_lens, 0)
    order = jnp.argsort(-length).astype(jnp.int32)

    def tiles(at: jax.Array) -> _Tiles:
        sequence = order[jnp.minimum(at, sequences - 1)]
        return _Tiles(sequence, call.cu_q_lens[sequence], (at < num_decodes).astype(jnp.int32))

    return _steps(call, out, tiles, num_decodes, call.config.decode_width(call.q.shape[0]), 1)


def _chunks(call: _Call, out: jax.Array, distribution: jax.Array) -> jax.Array:
    tokens = call.config.chunk_tokens
    sequences = call.kv_lens.shape[0]
    index = jnp.arange(sequences, dtype=jnp.int32)
    is_chunk = (index >= distribution[0]) & (index < distribution[2])
    q_lens = jnp.where(is_chunk, call.cu_q_lens[1:] - call.cu_q_lens[:-1], 0)
    num_tiles = (q_lens + tokens - 1) // tokens
    ends = jnp.cumsum(num_tiles)

    def tiles(at: jax.Array) -> _Tiles:
        sequence = jnp.sum((at[:, None] >= ends[None, :]).astype(jnp.int32), axis=1)
        sequence = jnp.minimum(sequence, sequences - 1)
        offset = (at - (ends - num_tiles)[sequence]) * tokens
        length = jnp.where(at < ends[-1], jnp.minimum(tokens, q_lens[sequence] - offset), 0)
        return _Tiles(sequence, call.cu_q_lens[sequence] + offset, length)

    return _steps(call, out, tiles, ends[-1], call.config.chunk_width(call.q.shape[0]), tokens)


def _steps(
    call: _Call,
    out: jax.Array,
    tiles: Callable[[jax.Array], _Tiles],
    num_tiles: jax.Array,
    width: int,
    tokens: int,
) -> jax.Array:
    """Work through num_tiles tiles of `tokens` tokens, `width` at a time; tiles(index [width]) describes them."""

    def step(i: jax.Array, out: jax.Array) -> jax.Array:
        return _step(call, out, tiles(i * width + jnp.arange(width, dtype=jnp.int32)), tokens)

    return lax.fori_loop(0, (num_tiles + width - 1) // width, step, out)


def _step(call: _Call, out: jax.Array, tiles: _Tiles, tokens: int) -> jax.Array:
    """out [t, hq, d] with the rows of the tiles' tokens filled in."""
    total, q_heads, head_dim = call.q.shape
    offset = jnp.arange(tokens, dtype=jnp.int32)[None, :]
    row = tiles.start[:, None] + offset
    read = jnp.minimum(row, total - 1).reshape(-1)
    q = call.q.at[read].get(mode="promise_in_bounds").reshape(*row.shape, q_heads, head_dim)
    result = _attend(call, q, tiles).reshape(-1, q_heads, head_dim)
    write = jnp.where(offset < tiles.length[:, None], row, total).reshape(-1)
    return out.at[write].set(result.astype(out.dtype), mode="drop")


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


def _attend(call: _Call, q: jax.Array, tiles: _Tiles) -> jax.Array:
    """q [n, tokens, hq, d], the tiles' queries -> float32 of the same shape."""
    width, tokens, q_heads, head_dim = q.shape
    sizes = call.layout.sizes(call.pool)
    kv_heads, group = sizes["kv_head"], q_heads // sizes["kv_head"]
    block = call.config.pages_per_block(sizes["slot"]) * sizes["slot"]
    span = _span(call, tiles, tokens)
    first_block = span.begin // block
    blocks = span.last // block + 1 - first_block
    queries = q.reshape(width, tokens, kv_heads, group, head_dim).swapaxes(1, 2)
    queries = _pad_rows(queries.reshape(width * kv_heads, tokens * group, head_dim))

    def merge(j: jax.Array, state: _Softmax) -> _Softmax:
        return _merge_block(call, span, queries, first_block + j, state)

    shape = (width, kv_heads, tokens, group)
    state = _Softmax(jnp.full(shape, LOWEST), jnp.zeros(shape), jnp.zeros((*shape, head_dim)))
    state = lax.fori_loop(0, jnp.max(blocks), merge, state)
    if call.sinks is not None:
        state = _add_sinks(state, call.sinks)
    out = state.acc / jnp.where(state.total > 0, state.total, 1.0)[..., None]
    return out.swapaxes(1, 2).reshape(width, tokens, q_heads, head_dim)


def _span(call: _Call, tiles: _Tiles, tokens: int) -> _Span:
    sequence, window = tiles.sequence, call.score.window
    first = call.kv_lens[sequence] - call.cu_q_lens[sequence + 1] + tiles.start
    return _Span(
        table=call.page_table[sequence],
        query=first[:, None] + jnp.arange(tokens, dtype=jnp.int32)[None, :],
        begin=jnp.zeros_like(first) if window is None else jnp.maximum(first - window + 1, 0),
        last=jnp.where(tiles.length > 0, first + tiles.length - 1, -1),
    )


def _merge_block(call: _Call, span: _Span, queries: jax.Array, block: jax.Array, state: _Softmax) -> _Softmax:
    """The softmax with the keys and values of block[n] of each tile added. queries [n * hkv, rows, d]."""
    width, kv_heads, tokens, group = state.top.shape
    page_size = call.layout.sizes(call.pool)["slot"]
    pages = call.config.pages_per_block(page_size)
    keys_in_block = pages * page_size
    k_pos = block[:, None] * keys_in_block + jnp.arange(keys_in_block, dtype=jnp.int32)[None, :]
    held = (k_pos >= span.begin[:, None]) & (k_pos <= span.last[:, None])
    ids = _block_pages(span.table, block, held.reshape(width, pages, page_size))
    keys, values = (
        x.reshape(width * kv_heads, keys_in_block, -1)
        for x in _read_block(call, ids, held.reshape(width, pages, page_size))
    )
    distance = span.query[:, :, None] - k_pos[:, None, :]
    visible = held[:, None, :] & (distance >= 0)
    if call.score.window is not None:
        visible &= distance < call.score.window
    visible = visible[:, None, :, None, :]

    rows = tokens * group
    s = _dot_nt(queries, keys)[:, :rows].reshape(*state.top.shape, keys_in_block)
    # The barrier keeps the mask from being worked out twice. A row that has seen nothing yet sums up nonsense here, but
    # its maximum is LOWEST: the first key that it sees scales all of that to 0.
    s = lax.optimization_barrier(jnp.where(visible, _logits(s, distance, call), LOWEST))
    top = jnp.maximum(state.top, jnp.ceil(jnp.max(s, axis=-1)))
    p = jnp.exp2(s - top[..., None]).astype(values.dtype)
    p = _pad_rows(p.reshape(width * kv_heads, rows, keys_in_block))
    shrink = _power_of_two(state.top - top)
    return _Softmax(
        top,
        state.total * shrink + _row_sums(p)[:, :rows].reshape(state.total.shape),
        state.acc * shrink[..., None] + _dot_values(p, values)[:, :rows].reshape(state.acc.shape),
    )


def _add_sinks(state: _Softmax, sinks: jax.Array) -> _Softmax:
    """The softmax with a logit per query head, sinks [hq], that has no value."""
    _, kv_heads, _, group = state.top.shape
    sink = (sinks * LOG2E).reshape(1, kv_heads, 1, group)
    top = jnp.maximum(state.top, jnp.ceil(sink))
    shrink = _power_of_two(state.top - top)
    return _Softmax(top, state.total * shrink + jnp.exp2(sink - top), state.acc * shrink[..., None])


def _logits(s: jax.Array, distance: jax.Array, call: _Call) -> jax.Array:
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


def _block_pages(table: jax.Array, block: jax.Array, held: jax.Array) -> jax.Array:
    """Page ids [n, pages] of block[n] of each row of `table`; pages without a slot in held [n, pages, slot]: page 0."""
    pages = held.shape[1]
    at = block[:, None] * pages + jnp.arange(pages, dtype=jnp.int32)[None, :]
    ids = jnp.take_along_axis(table, jnp.minimum(at, table.shape[1] - 1), axis=1, mode="promise_in_bounds")
    return jnp.where(jnp.any(held, axis=-1), ids, 0)


def _read_block(call: _Call, ids: jax.Array, held: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Keys and values [n * hkv * b, page_size, d] of pages ids[n, b] where held [n, b, page_size], else 0.

    Keys need no mask beside that of the scores, but it is free: see _keep.
    """
    sizes = call.layout.sizes(call.pool)
    heads, page, head_dim = sizes["kv_head"], (sizes["slot"], sizes["head_dim"]), call.q.shape[-1]
    held = jnp.broadcast_to(held[:, None], (held.shape[0], heads, *held.shape[1:])).reshape(-1, page[0], 1)
    held = lax.optimization_barrier(held)
    if call.layout.axes == AXES:
        rows = call.pool.reshape(-1, *page)
        first = (call.layer * sizes["page"] + ids)[:, None, :] * (2 * heads)
        key_row = first + jnp.arange(heads, dtype=jnp.int32)[None, :, None]
        # The barriers keep the arithmetic of the indices out of the copying loop.
        at = lax.optimization_barrier((key_row.reshape(-1), (key_row + heads).reshape(-1)))
        keys, values = (rows.at[row].get(mode="promise_in_bounds")[..., :head_dim] for row in at)
    else:
        pages = call.pool.at[call.layer, ids.reshape(-1)].get(mode="promise_in_bounds")
        kv = call.layout.split(pages, head_dim).reshape(*ids.shape, 2, heads, page[0], head_dim)
        keys, values = kv.transpose(2, 0, 3, 1, 4, 5).reshape(2, -1, page[0], head_dim)
    return lax.optimization_barrier((_keep(keys, held), _keep(values, held)))


def _keep(x: jax.Array, held: jax.Array) -> jax.Array:
    """x [rows, slot, d] where held [rows, slot, 1], else 0: NaN times 0 would be NaN.

    XLA:CPU fuses this bitwise and into the loop that copies the pages, as long as nothing is reshaped in between, and
    copies bfloat16 slots twice as fast with it as without it or with a select.
    """
    bits = jnp.dtype(f"int{8 * x.dtype.itemsize}")
    return lax.bitcast_convert_type(lax.bitcast_convert_type(x, bits) & -held.astype(bits), x.dtype)


def _pad_rows(x: jax.Array) -> jax.Array:
    """[b, m, d] with zero rows below, if need be, so that there are MIN_ROWS."""
    return jnp.pad(x, ((0, 0), (0, MIN_ROWS - x.shape[1]), (0, 0))) if x.shape[1] < MIN_ROWS else x


def _dot_nt(x: jax.Array, y: jax.Array) -> jax.Array:
    """[b, m, d] x [b, n, d] -> float32 [b, m, n]."""
    return lax.dot_general(x, y, (((2,), (2,)), ((0,), (0,))), preferred_element_type=jnp.float32)


def _dot_values(p: jax.Array, values: jax.Array) -> jax.Array:
    """[b, m, n] x [b, n, d] -> float32 [b, m, d]."""
    if values.dtype == jnp.bfloat16:
        return lax.dot_general(p, values, (((2,), (1,)), ((0,), (0,))), preferred_element_type=jnp.float32)
    return _dot_nt(p, lax.optimization_barrier(values.swapaxes(1, 2)))


def _row_sums(p: jax.Array) -> jax.Array:
    """float32 [b, m, n] -> [b, m], as a dot because that is independent of the shape."""
    ones = jnp.ones((8, p.shape[2]), p.dtype)
    sums = lax.dot_general(p, ones, (((2,), (1,)), ((), ())), preferred_element_type=jnp.float32)
    return sums[:, :, 0]


def _power_of_two(exponent: jax.Array) -> jax.Array:
    """2 ** exponent, exactly, for integral exponent <= 0; 0 below the normal numbers."""
    bits = (jnp.maximum(exponent, -127.0).astype(jnp.int32) + 127) << 23
    return lax.bitcast_convert_type(bits, jnp.float32)
