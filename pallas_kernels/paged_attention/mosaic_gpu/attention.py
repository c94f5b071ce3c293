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
from pallas_kernels.paged_attention.mosaic_gpu.chunk_refs import ALIGNED_ROWS, TILE_ROWS, ChunkShape, Rows, Tiles
from pallas_kernels.paged_attention.mosaic_gpu.decode import DecodeShape, decode_splits, split_range, work_list
from pallas_kernels.paged_attention.mosaic_gpu.merge import merge_splits
from pallas_kernels.paged_attention.mosaic_gpu.tiles import WIDENED, Pages
from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.sequences import Sequences
from pallas_kernels.paged_attention.tokens import TokenPlaces, token_places, write_tokens

DECODE, CHUNK = DecodeConfig(), ChunkConfig()
COLUMNS = 8  # of a product come in eights
WIDENABLE = (jnp.dtype("float8_e4m3fn"), jnp.dtype("float8_e5m2"))  # pages of these are attended to in float16
FAR = 1 << 29  # a row that there is not


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
    if tokens > 1:
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
    # Whole to the kernel, whatever the number of tokens: XLA wraps a call whose operands are slices into a fusion.
    page_table, kv_lens = call.sequences.page_table, call.sequences.kv_lens
    context = page_table.shape[1] * page_size
    split = config.keys_per_split(context)
    first, end = split_range(kv_lens[:count], call.sequences.distribution[0], split, call.score.window)
    shape = DecodeShape(
        sequences=count,
        columns=call.group + -call.group % COLUMNS,
        head_dim=padded,
        splits=-(-context // split),
        split=split,
        stages=config.stages(config.tile * padded, call.q.dtype.itemsize, call.pool.dtype.itemsize),
        blocks=config.blocks,
        pages=Pages(page_size, config.tile, call.kv_heads),
    )
    q = call.q[:count].reshape(count, call.kv_heads, call.group, padded)
    q = jnp.pad(q, ((0, 0), (0, 0), (0, shape.columns - call.group), (0, 0)))
    slopes, sinks = (_by_column(x, call.kv_heads, shape.columns) for x in (call.alibi_slopes, call.sinks))
    work = work_list(first, end, shape.splits)
    values, softmax = decode_splits(
        q, call.pool, call.layer, page_table, kv_lens, work, slopes, shape=shape, score=call.score
    )
    out = merge_splits(values, softmax, first, end, sinks, call.q.dtype)
    return out[..., : call.group].swapaxes(2, 3).reshape(count, -1, padded)


def _by_column(per_head: jax.Array | None, kv_heads: int, columns: int) -> jax.Array | None:
    """A value per query head, [hq] -> [hkv, columns]."""
    if per_head is None:
        return None
    grid = per_head.reshape(kv_heads, -1)
    return jnp.pad(grid, ((0, 0), (0, columns - grid.shape[1])))


def chunks(call: _Call, places: TokenPlaces, config: ChunkConfig) -> jax.Array:
    """Outputs [t, hq, padded d] of the tokens of chunks; arbitrary for other tokens."""
    tokens, q_heads, padded = call.q.shape
    tiles, row = chunk_list(call, places)
    shape = ChunkShape(
        head_dim=padded,
        width=padded if padded <= 128 else 64,
        stages=config.stages(TILE_ROWS, padded, call.q.dtype.itemsize, call.pool.dtype.itemsize),
        blocks=config.blocks,
        weights_in_registers=config.weights_in_registers,
        pages=Pages(call.pool.shape[4], config.keys_per_tile(padded), call.kv_heads),
    )
    # Chunks of fewer than two tokens are decodes, but nothing here relies on it.
    room = tokens * call.group + min(tokens, len(call.sequences.kv_lens)) * (ALIGNED_ROWS - 1) + TILE_ROWS
    room += -room % ALIGNED_ROWS

    def by_row(x: jax.Array) -> jax.Array:
        """[n, t, group, ...] -> [n, room, ...], zeros where there is no row."""
        rows = jnp.zeros((x.shape[0], room, *x.shape[3:]), x.dtype)
        return rows.at[:, row].set(x, mode="drop", unique_indices=True)

    def of_heads(per_head: jax.Array | None) -> jax.Array | None:
        """[hq] -> [hkv, room]."""
        if per_head is None:
            return None
        return by_row(jnp.broadcast_to(per_head.reshape(call.kv_heads, 1, -1), (call.kv_heads, *row.shape)))

    q = by_row(call.q.reshape(tokens, call.kv_heads, call.group, padded).swapaxes(0, 1))
    position = by_row(jnp.broadcast_to(places.position[None, :, None], (1, *row.shape)))[0]
    rows = Rows(position, of_heads(call.alibi_slopes), of_heads(call.sinks))
    out = chunk_tiles(q, rows, call.pool, call.layer, call.sequences.page_table, tiles, shape=shape, score=call.score)
    out = out.at[:, jnp.minimum(row, room - 1)].get(mode="promise_in_bounds")
    return out.swapaxes(0, 1).reshape(tokens, q_heads, padded)


def chunk_list(call: _Call, places: TokenPlaces) -> tuple[Tiles, jax.Array]:
    """The tiles of all chunks, and the row of each token and member of its group, Int32[t, group].

    Each chunk's rows begin at a multiple of ALIGNED_ROWS; tokens that are in no chunk have rows beyond all others.
    """
    _, kv_lens, cu_q_lens, distribution = call.sequences
    count, tokens, group = len(kv_lens), len(call.q), call.group
    index = jnp.arange(count, dtype=jnp.int32)
    is_chunk = (index >= distribution[0]) & (index < distribution[2])
    rows = jnp.where(is_chunk, (cu_q_lens[1:] - cu_q_lens[:-1]) * group, 0)
    aligned = (rows + (ALIGNED_ROWS - 1)) // ALIGNED_ROWS * ALIGNED_ROWS
    begin_row = jnp.cumsum(aligned, dtype=jnp.int32) - aligned

    tile_count = (rows + (TILE_ROWS - 1)) // TILE_ROWS
    ends = jnp.cumsum(tile_count, dtype=jnp.int32)
    item = jnp.arange(-(-tokens * group // TILE_ROWS) + min(count, tokens), dtype=jnp.int32)
    sequence = jnp.sum((item[:, None] >= ends[None, :]).astype(jnp.int32), axis=1)
    sequence = jnp.minimum(sequence, count - 1)
    offset = (item - (ends - tile_count)[sequence]) * TILE_ROWS  # of the item's first row from its sequence's
    last_offset = jnp.minimum(offset + TILE_ROWS, rows[sequence]) - 1
    old = kv_lens[sequence] - (cu_q_lens[1:] - cu_q_lens[:-1])[sequence]
    first, last = old + offset // group, old + last_offset // group
    window = call.score.window
    tiles = Tiles(
        sequence=sequence,
        start=begin_row[sequence] + offset,
        stop=(begin_row + aligned)[sequence],
        begin=jnp.zeros_like(first) if window is None else jnp.maximum(first - window + 1, 0),
        end=last + 1,
        whole=first + 1,
        real=ends[-1:],
    )
    token = jnp.arange(tokens, dtype=jnp.int32)
    first_row = begin_row[places.sequence] + (token - cu_q_lens[places.sequence]) * group
    first_row = jnp.where(places.valid & is_chunk[places.sequence], first_row, FAR + token * group)
    return tiles, first_row[:, None] + jnp.arange(group, dtype=jnp.int32)[None, :]
