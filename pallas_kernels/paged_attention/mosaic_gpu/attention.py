"""Paged attention for Hopper in Pallas Mosaic GPU: decodes split over their keys, chunks in tiles of queries.

XLA writes the step's keys and values (its scatter fuses with the rotation before it), then the kernels read pages only.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pallas_kernels.paged_attention.config import ChunkConfig, DecodeConfig
from pallas_kernels.paged_attention.layout import AXES, PoolLayout, pad_heads
from pallas_kernels.paged_attention.mosaic_gpu.chunk import chunk_tiles
from pallas_kernels.paged_attention.mosaic_gpu.chunk_items import (
    chunk_items,
    chunk_rows,
    room_for,
    row_of_token,
    token_of_row,
)
from pallas_kernels.paged_attention.mosaic_gpu.chunk_refs import TILE_ROWS, ChunkShape, Rows
from pallas_kernels.paged_attention.mosaic_gpu.decode import DecodeShape, decode_splits, split_range, work_list
from pallas_kernels.paged_attention.mosaic_gpu.merge import merge_splits
from pallas_kernels.paged_attention.mosaic_gpu.tiles import WIDENED, Pages
from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.sequences import Sequences
from pallas_kernels.paged_attention.tokens import TokenPlaces, token_places, write_tokens

DECODE, CHUNK = DecodeConfig(), ChunkConfig()
COLUMNS = 8  # of a product come in eights
WIDENABLE = (jnp.dtype("float8_e4m3fn"), jnp.dtype("float8_e5m2"))  # pages of these are attended to in float16


class _Call(NamedTuple):
    """What decodes and chunks share: arrays, then static values. q is padded as the pool is."""

    q: jax.Array  # [t, hq, padded d], in what products are computed in
    pool: jax.Array
    layer: jax.Array
    sequences: Sequences
    alibi_slopes: jax.Array | None
    sinks: jax.Array | None
    score: ScoreMod

    @property
    def kv_heads(self) -> int:
        return self.pool.shape[3]

    @property
    def group(self) -> int:
        return self.q.shape[1] // self.kv_heads


def paged_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pool: jax.Array,
    layer: jax.Array,
    sequences: Sequences,
    *,
    score: ScoreMod,
    alibi_slopes: jax.Array | None,
    sinks: jax.Array | None,
    decodes_only: bool = False,
    layout: PoolLayout,
    decode: DecodeConfig = DECODE,
    chunk: ChunkConfig = CHUNK,
) -> tuple[jax.Array, jax.Array]:
    """See api.paged_attention. Raises NotImplementedError for what the kernels cannot take."""
    _refuse(q, pool, layout, score)
    tokens, _, head_dim = q.shape
    places = token_places(tokens, sequences, pool.shape[4])
    pool = write_tokens(pool, layer, k, v, places, layout)
    padded = pad_heads(q, layout.head_multiple).astype(q.dtype if pool.dtype == q.dtype else WIDENED)
    layer = jnp.asarray(layer, jnp.int32)
    call = _Call(padded, pool, layer, sequences, alibi_slopes, sinks, score)
    out = decodes(call, decode)
    out = jnp.pad(out, ((0, tokens - len(out)), (0, 0), (0, 0)))
    if tokens > 1 and not decodes_only:
        in_chunk = places.valid & (jnp.arange(tokens, dtype=jnp.int32) >= sequences.distribution[0])
        out = jnp.where(in_chunk[:, None, None], chunks(call, places, chunk), out)
    return out[..., :head_dim].astype(q.dtype), pool


def _refuse(q: jax.Array, pool: jax.Array, layout: PoolLayout, score: ScoreMod) -> None:
    if layout.axes != AXES or pool.shape[-1] % 64:
        raise NotImplementedError(f"the Hopper kernels read heads padded to 64 as {AXES}, not layout {layout.name}")
    if q.dtype not in (jnp.bfloat16, jnp.float16) or pool.dtype not in (q.dtype, *WIDENABLE):
        raise NotImplementedError(f"the Hopper kernels compute in 16 bits, not {q.dtype} over pages of {pool.dtype}")
    page = pool.shape[4]
    if page % 8 or page & (page - 1):
        raise NotImplementedError(f"a page of {page} slots is no power of two of at least 8")
    if score.scale <= 0:
        raise NotImplementedError(f"the Hopper kernels take the maximum before the scale, which is {score.scale}")
    if pool.shape[-1] > 256 or q.shape[1] // pool.shape[3] > 128:
        raise NotImplementedError(f"{q.shape[1]} heads of {q.shape[2]} over {pool.shape[3]} do not fit shared memory")


def decodes(call: _Call, config: DecodeConfig) -> jax.Array:
    """Outputs [n, hq, padded d] of the first tokens, one a sequence; 0 where it is no decode."""
    count, (page_size, padded) = min(len(call.q), len(call.sequences.kv_lens)), call.pool.shape[4:]
    page_table, kv_lens = call.sequences.page_table, call.sequences.kv_lens[:count]
    context = page_table.shape[1] * page_size
    split = config.keys_per_split(context)
    # The kernel gets a whole page table and computed lengths: XLA wraps a call that is given slices into a fusion.
    index = jnp.arange(count, dtype=jnp.int32)
    length = jnp.where(index < call.sequences.distribution[0], kv_lens, 0)
    first, end = split_range(length, split, call.score.window)
    columns = call.group + -call.group % COLUMNS
    shape = DecodeShape(
        sequences=count,
        columns=columns,
        head_dim=padded,
        splits=-(-context // split),
        split=split,
        stages=config.stages(config.tile * padded, call.q.dtype.itemsize, call.pool.dtype.itemsize),
        blocks=config.blocks_for(columns, padded, call.q.dtype.itemsize, call.pool.dtype.itemsize),
        pages=Pages(page_size, config.tile, call.kv_heads),
    )
    q = call.q[:count].reshape(count, call.kv_heads, call.group, padded)
    q = jnp.pad(q, ((0, 0), (0, 0), (0, shape.columns - call.group), (0, 0)))
    slopes, sinks = (_by_column(x, call.kv_heads, shape.columns) for x in (call.alibi_slopes, call.sinks))
    work = work_list(first, end, shape.splits)
    values, softmax = decode_splits(
        q, call.pool, call.layer, page_table, length, work, slopes, shape=shape, score=call.score
    )
    out = merge_splits(values, softmax, first, end, sinks, call.group, call.q.dtype)
    return out.reshape(count, -1, padded)


def _by_column(per_head: jax.Array | None, kv_heads: int, columns: int) -> jax.Array | None:
    """A value per query head, [hq] -> [hkv, columns]."""
    if per_head is None:
        return None
    grid = per_head.reshape(kv_heads, -1)
    return jnp.pad(grid, ((0, 0), (0, columns - grid.shape[1])))


def chunks(call: _Call, places: TokenPlaces, config: ChunkConfig) -> jax.Array:
    """Outputs [t, hq, padded d] of the tokens of chunks; arbitrary for other tokens."""
    tokens, q_heads, padded = call.q.shape
    kv_heads, group = call.kv_heads, call.group
    shape = ChunkShape(
        head_dim=padded,
        width=padded if padded <= 128 else 64,
        stages=config.stages(TILE_ROWS, padded, call.q.dtype.itemsize, call.pool.dtype.itemsize),
        blocks=config.blocks,
        weights_in_registers=config.weights_in_registers,
        pages=Pages(call.pool.shape[4], config.keys_per_tile(padded), kv_heads),
    )
    laid = chunk_rows(call.sequences, group)
    room = room_for(tokens, len(call.sequences.kv_lens), group)
    token, member = token_of_row(call.sequences, laid, tokens, group, room)
    head = jnp.arange(kv_heads, dtype=jnp.int32)[:, None] * group + member[None, :]  # [hkv, room]
    slope, sink = (None if x is None else x[head] for x in (call.alibi_slopes, call.sinks))
    out = chunk_tiles(
        _take_rows(call.q, token[None, :] * q_heads + head),
        Rows(places.position[token], slope, sink),
        call.pool,
        call.layer,
        call.sequences.page_table,
        chunk_items(call.sequences, laid, tokens, group, call.score.window),
        shape=shape,
        score=call.score,
    )
    row = row_of_token(call.sequences, laid, places, group, room)
    at = jnp.arange(kv_heads, dtype=jnp.int32)[None, :, None] * room + row[:, None, :]
    return _take_rows(out, at.reshape(tokens, q_heads))


def _take_rows(x: jax.Array, index: jax.Array) -> jax.Array:
    """Rows of x [.., d], its leading axes taken as one: [*index.shape, d]. A gather writes each element once."""
    return x.reshape(-1, x.shape[-1]).at[index].get(mode="promise_in_bounds")
