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
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pallas_kernels.paged_attention.config import XlaConfig
from pallas_kernels.paged_attention.layout import HEAD_MAJOR, PoolLayout
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

    def tiles(first: jax.Array, width: int) -> _Tiles:
        at = first + jnp.arange(width, dtype=jnp.int32)
        sequence = order[jnp.minimum(at, sequences - 1)]
        return _Tiles(sequence, call.cu_q_lens[sequence], (at < num_decodes).astype(jnp.int32))

    return _steps(call, out, tiles, num_decodes, call.config.decode_width(call.q.shape[0]), tokens=1)


def _chunks(call: _Call, out: jax.Array, distribution: jax.Array) -> jax.Array:
    tokens = call.config.chunk_tokens
    sequences = call.kv_lens.shape[0]
    index = jnp.arange(sequences, dtype=jnp.int32)
    is_chunk = (index >= distribution[0]) & (index < distribution[2])
    q_lens = jnp.where(is_chunk, call.cu_q_lens[1:] - call.cu_q_lens[:-1], 0)
    ends = jnp.cumsum((q_lens + tokens - 1) // tokens)  # tiles up to and including sequence s

    def tiles(first: jax.Array, width: int) -> _Tiles:
        at = first + jnp.arange(width, dtype=jnp.int32)
        sequence = jnp.sum((at[:, None] >= ends[None, :]).astype(jnp.int32), axis=1)
        sequence = jnp.minimum(sequence, sequences - 1)
        left = (ends[sequence] - at) * tokens  # ends at a multiple: the last tile is the short one
        whole = (q_lens[sequence] + tokens - 1) // tokens * tokens
        offset = whole - left
        count = jnp.where(at < ends[-1], jnp.minimum(tokens, q_lens[sequence] - offset), 0)
        return _Tiles(sequence, call.cu_q_lens[sequence] + offset, count)

    return _steps(call, out, tiles, ends[-1], call.config.chunk_width(call.q.shape[0]), tokens=tokens)


def _steps(call: _Call, out: jax.Array, tiles, num_tiles: jax.Array, width: int, *, tokens: int):
    """Work through num_tiles tiles, `width` at a time."""

    def step(i: jax.Array, out: jax.Array) -> jax.Array:
        return _step(call, out, tiles(i * width, width), tokens)

    return lax.fori_loop(0, (num_tiles + width - 1) // width, step, out)


def _step(call: _Call, out: jax.Array, tiles: _Tiles, tokens: int) -> jax.Array:
    """Attention of the tiles' tokens, written into their rows of out."""
    width = tiles.start.shape[0]
    total, q_heads, head_dim = call.q.shape
    offset = jnp.arange(tokens, dtype=jnp.int32)
    row = tiles.start[:, None] + offset[None, :]
    valid = offset[None, :] < tiles.length[:, None]
    read = jnp.minimum(row, total - 1)
    q = call.q.at[read.reshape(-1)].get(mode="promise_in_bounds").reshape(width, tokens, q_heads, head_dim)
    first = call.kv_lens[tiles.sequence] - call.cu_q_lens[tiles.sequence + 1] + tiles.start
    result = _attend(call, q, tiles.sequence, first, tiles.length)
    write = jnp.where(valid, row, total).reshape(-1)
    return out.at[write].set(result.reshape(-1, q_heads, head_dim).astype(out.dtype), mode="drop")


def _attend(call: _Call, q: jax.Array, sequence: jax.Array, first: jax.Array, count: jax.Array) -> jax.Array:
    """q [n, tokens, hq, d] at positions first[n] + 0..count[n]-1 -> float32 of the same shape."""
    width, tokens, q_heads, head_dim = q.shape
    sizes = call.layout.sizes(call.pool)
    kv_heads, page_size = sizes["kv_head"], sizes["slot"]
    group = q_heads // kv_heads
    pages_per_block = call.config.pages_per_block(page_size)
    block = pages_per_block * page_size
    window = call.score.window
    last = first + count - 1
    begin = jnp.zeros_like(first) if window is None else jnp.maximum(first - window + 1, 0)
    first_block = begin // block
    blocks = jnp.where(count > 0, last // block + 1 - first_block, 0)
    q_pos = first[:, None] + jnp.arange(tokens, dtype=jnp.int32)[None, :]
    table = call.page_table[sequence]

    rows = max(tokens * group, MIN_ROWS)
    queries = q.reshape(width, tokens, kv_heads, group, head_dim).swapaxes(1, 2)
    queries = _pad_rows(queries.reshape(width * kv_heads, tokens * group, head_dim), rows)

    def merge(j: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]):
        top, total, acc = state
        start = (first_block + j) * block
        k_pos = start[:, None] + jnp.arange(block, dtype=jnp.int32)[None, :]
        held = (k_pos >= begin[:, None]) & (k_pos <= last[:, None])
        ids = _block_pages(table, first_block + j, pages_per_block, held, page_size)
        keys, values = _read_block(call.pool, call.layer, ids, call.layout)
        keys, values = _keep(keys, held), _keep(values, held)
        visible = held[:, None, :] & (k_pos[:, None, :] <= q_pos[:, :, None])
        distance = q_pos[:, :, None] - k_pos[:, None, :]
        if window is not None:
            visible &= distance < window

        s = _dot_nt(queries, keys.reshape(width * kv_heads, block, head_dim))[:, : tokens * group]
        s = s.reshape(width, kv_heads, tokens, group, block)
        s = _modify(s, distance, call, kv_heads, group)
        s = jnp.where(visible[:, None, :, None, :], s, LOWEST)
        new_top = jnp.maximum(top, jnp.ceil(jnp.max(s, axis=-1)))
        p = jnp.where(visible[:, None, :, None, :], jnp.exp2(s - new_top[..., None]), 0.0)
        p = p.astype(values.dtype).reshape(width * kv_heads, tokens * group, block)
        p = _pad_rows(p, rows)
        part = _dot_values(p, values.reshape(width * kv_heads, block, head_dim))[:, : tokens * group]
        part_total = _row_sums(p)[:, : tokens * group]
        shrink = _power_of_two(top - new_top)
        return (
            new_top,
            total * shrink + part_total.reshape(total.shape),
            acc * shrink[..., None] + part.reshape(acc.shape),
        )

    shape = (width, kv_heads, tokens, group)
    state = (jnp.full(shape, LOWEST), jnp.zeros(shape), jnp.zeros((*shape, head_dim)))
    top, total, acc = lax.fori_loop(0, jnp.max(blocks), merge, state)
    if call.sinks is not None:
        sink = (call.sinks * LOG2E).reshape(1, kv_heads, 1, group)
        new_top = jnp.maximum(top, jnp.ceil(sink))
        shrink = _power_of_two(top - new_top)
        total = total * shrink + jnp.exp2(sink - new_top)
        acc = acc * shrink[..., None]
    out = acc / jnp.where(total > 0, total, 1.0)[..., None]
    return out.swapaxes(1, 2).reshape(width, tokens, q_heads, head_dim)


def _modify(s: jax.Array, distance: jax.Array, call: _Call, kv_heads: int, group: int) -> jax.Array:
    """Scores [n, hkv, tokens, group, block] of q.k -> logits in units of log2."""
    score = call.score
    if score.soft_cap is not None:
        s = (score.soft_cap * LOG2E) * jnp.tanh(s * (score.scale / score.soft_cap))
    else:
        s = s * (score.scale * LOG2E)
    if call.alibi_slopes is not None:
        slopes = (call.alibi_slopes * LOG2E).reshape(1, kv_heads, 1, group, 1)
        s = s - slopes * distance[:, None, :, None, :].astype(jnp.float32)
    return s


def _block_pages(
    table: jax.Array, block: jax.Array, pages_per_block: int, held: jax.Array, page_size: int
) -> jax.Array:
    """Page ids [n, pages_per_block] of block[n] of each row of `table`; pages without a held slot become page 0."""
    at = block[:, None] * pages_per_block + jnp.arange(pages_per_block, dtype=jnp.int32)[None, :]
    ids = jnp.take_along_axis(table, jnp.minimum(at, table.shape[1] - 1), axis=1, mode="promise_in_bounds")
    used = jnp.any(held.reshape(*at.shape, page_size), axis=-1)
    return jnp.where(used, ids, 0)


def _read_block(pool: jax.Array, layer: jax.Array, ids: jax.Array, layout: PoolLayout) -> tuple[jax.Array, jax.Array]:
    """Keys and values [n, hkv, b * page_size, d] of pages ids[n, b]."""
    sizes = layout.sizes(pool)
    shape = (ids.shape[0], sizes["kv_head"], ids.shape[1] * sizes["slot"], sizes["head_dim"])
    if layout.axes == HEAD_MAJOR:
        # One row per (page, k or v, head): XLA:CPU copies long rows several times as fast as it gathers elements.
        rows = pool.reshape(-1, sizes["slot"] * sizes["head_dim"])
        page = (layer * sizes["page"] + ids)[:, None, :] * (2 * sizes["kv_head"])
        key_row = page + jnp.arange(sizes["kv_head"], dtype=jnp.int32)[None, :, None]
        # The barriers keep the arithmetic of the indices out of the copying loop.
        key_rows, value_rows = lax.optimization_barrier((key_row.reshape(-1), (key_row + sizes["kv_head"]).reshape(-1)))
        keys, values = (rows.at[at].get(mode="promise_in_bounds") for at in (key_rows, value_rows))
        return keys.reshape(shape), values.reshape(shape)
    pages = pool.at[layer, ids].get(mode="promise_in_bounds")
    rest = layout.axes[2:]
    order = [2 + rest.index(axis) for axis in ("kv", "kv_head", "slot", "head_dim")]
    kv = pages.transpose(order[0], 0, order[1], 1, order[2], order[3])
    return kv[0].reshape(shape), kv[1].reshape(shape)


def _keep(x: jax.Array, held: jax.Array) -> jax.Array:
    """Keys or values [n, hkv, block, d] where held [n, block], else 0: NaN times 0 would be NaN.

    Keys need no mask beside that of the scores. But XLA:CPU fuses this bitwise and into the loop that copies the
    pages, which becomes two to three times as fast as copying bfloat16 (and as a select).
    """
    bits = jnp.dtype(f"int{8 * x.dtype.itemsize}")
    mask = -held.astype(bits)[:, None, :, None]
    return lax.bitcast_convert_type(lax.bitcast_convert_type(x, bits) & mask, x.dtype)


def _pad_rows(x: jax.Array, rows: int) -> jax.Array:
    """[b, m, d] -> [b, rows, d] with zero rows below."""
    return x if x.shape[1] == rows else jnp.pad(x, ((0, 0), (0, rows - x.shape[1]), (0, 0)))


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
