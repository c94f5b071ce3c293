"""The work items of a step's chunks, and the rows that their queries are moved to."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pallas_kernels.paged_attention.mosaic_gpu.chunk_refs import ALIGNED_ROWS, TILE_ROWS, Tiles
from pallas_kernels.paged_attention.sequences import Sequences
from pallas_kernels.paged_attention.tokens import TokenPlaces


class ChunkRows(NamedTuple):
    """Where each chunk's rows lie, Int32[s] each: `begin` and the padded `stop` are multiples of ALIGNED_ROWS.

    A row is a token and a member of its group of query heads; `held` 0 of them: the sequence is no chunk.
    """

    held: jax.Array
    begin: jax.Array
    stop: jax.Array


def chunk_rows(sequences: Sequences, group: int) -> ChunkRows:
    _, kv_lens, cu_q_lens, distribution = sequences
    index = jnp.arange(len(kv_lens), dtype=jnp.int32)
    is_chunk = (index >= distribution[0]) & (index < distribution[2])
    count = jnp.where(is_chunk, (cu_q_lens[1:] - cu_q_lens[:-1]) * group, 0)
    aligned = (count + (ALIGNED_ROWS - 1)) // ALIGNED_ROWS * ALIGNED_ROWS
    stop = jnp.cumsum(aligned, dtype=jnp.int32)
    return ChunkRows(count, stop - aligned, stop)


def room_for(tokens: int, sequences: int, group: int) -> int:
    """Rows that there may be, with those behind the last item's start."""
    # Chunks of fewer than two tokens are decodes, but nothing here relies on it.
    room = tokens * group + min(tokens, sequences) * (ALIGNED_ROWS - 1) + TILE_ROWS
    return room + -room % ALIGNED_ROWS


def chunk_items(sequences: Sequences, rows: ChunkRows, tokens: int, group: int, window: int | None) -> Tiles:
    """The tiles of all chunks, those that see most keys first."""
    _, kv_lens, cu_q_lens, _ = sequences
    count = len(kv_lens)
    tile_count = (rows.held + (TILE_ROWS - 1)) // TILE_ROWS
    ends = jnp.cumsum(tile_count, dtype=jnp.int32)
    item = jnp.arange(-(-tokens * group // TILE_ROWS) + min(count, tokens), dtype=jnp.int32)
    sequence = _first_beyond(item, ends)
    offset = (item - (ends - tile_count)[sequence]) * TILE_ROWS  # of the item's first row from its sequence's
    last_offset = jnp.minimum(offset + TILE_ROWS, rows.held[sequence]) - 1
    old = kv_lens[sequence] - (cu_q_lens[1:] - cu_q_lens[:-1])[sequence]
    first, last = old + offset // group, old + last_offset // group
    begin = jnp.zeros_like(first) if window is None else jnp.maximum(first - window + 1, 0)
    fields = (sequence, rows.begin[sequence] + offset, rows.stop[sequence], begin, last + 1, first + 1)
    real = jnp.sum(tile_count, dtype=jnp.int32, keepdims=True)
    order = jnp.argsort(jnp.where(item < real, begin - (last + 1), 1))
    return Tiles._make([*(field[order] for field in fields), real])


def row_of_token(sequences: Sequences, rows: ChunkRows, places: TokenPlaces, group: int, room: int) -> jax.Array:
    """Int32[t, group]; arbitrary for tokens that are in no chunk."""
    token = jnp.arange(len(places.sequence), dtype=jnp.int32)
    first = rows.begin[places.sequence] + (token - sequences.cu_q_lens[places.sequence]) * group
    return jnp.clip(first[:, None] + jnp.arange(group, dtype=jnp.int32)[None, :], 0, room - 1)


def token_of_row(
    sequences: Sequences, rows: ChunkRows, tokens: int, group: int, room: int
) -> tuple[jax.Array, jax.Array]:
    """The token and the member of its group of each row, Int32[room]; of a padding row some token of its sequence."""
    piece = jnp.arange(room // ALIGNED_ROWS, dtype=jnp.int32) * ALIGNED_ROWS
    sequence = jnp.repeat(_first_beyond(piece, rows.stop), ALIGNED_ROWS)
    offset = jnp.arange(room, dtype=jnp.int32) - rows.begin[sequence]
    first, end = sequences.cu_q_lens[sequence], sequences.cu_q_lens[sequence + 1]
    token = jnp.clip(first + offset // group, 0, jnp.maximum(end - 1, 0))
    return jnp.minimum(token, tokens - 1), offset % group


def _first_beyond(x: jax.Array, ends: jax.Array) -> jax.Array:
    """For each x the first of the ascending `ends` that is greater, else the last: Int32."""
    index = jnp.sum((x[:, None] >= ends[None, :]).astype(jnp.int32), axis=1)
    return jnp.minimum(index, len(ends) - 1)
