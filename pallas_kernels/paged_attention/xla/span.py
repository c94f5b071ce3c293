"""Where the queries of tiles stand, and which keys they may see."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.sequences import Sequences
from pallas_kernels.paged_attention.xla.tiles import Tiles


class Span(NamedTuple):
    """Of n tiles; positions count from the start of the sequence."""

    table: jax.Array  # Int32[n, p], the sequences' page ids
    query: jax.Array  # Int32[n, tokens]
    begin: jax.Array  # Int32[n], the first key that any query of the tile sees
    last: jax.Array  # Int32[n], the last; -1 for a tile without queries


class Block(NamedTuple):
    """One block of keys of each of n tiles."""

    held: jax.Array  # Bool[n, keys], whether any query of the tile may see it
    distance: jax.Array  # Int32[n, tokens, keys], query minus key position
    visible: jax.Array  # Bool[n, tokens, keys]


def span_of(sequences: Sequences, tiles: Tiles, tokens: int, window: int | None = None) -> Span:
    """Of tiles of `tokens` tokens each."""
    sequence = tiles.sequence
    first = sequences.kv_lens[sequence] - sequences.cu_q_lens[sequence + 1] + tiles.start
    return Span(
        table=sequences.page_table[sequence],
        query=first[:, None] + jnp.arange(tokens, dtype=jnp.int32)[None, :],
        begin=jnp.zeros_like(first) if window is None else jnp.maximum(first - window + 1, 0),
        last=jnp.where(tiles.length > 0, first + tiles.length - 1, -1),
    )


def block_of(span: Span, block: jax.Array, keys: int, score: ScoreMod) -> Block:
    """block[n] of each tile, in blocks of `keys` keys from the start of its sequence."""
    k_pos = block[:, None] * keys + jnp.arange(keys, dtype=jnp.int32)[None, :]
    held = (k_pos >= span.begin[:, None]) & (k_pos <= span.last[:, None])
    distance = span.query[:, :, None] - k_pos[:, None, :]
    visible = held[:, None, :] & (distance >= 0)
    if score.window is not None:
        visible &= distance < score.window
    if score.chunk is not None:
        visible &= k_pos[:, None, :] >= span.query[:, :, None] // score.chunk * score.chunk
    return Block(held, distance, visible)
