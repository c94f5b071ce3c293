"""The tokens of a step cut into tiles of queries, and the tiles worked through several at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pallas_kernels.paged_attention.config import XlaConfig
from pallas_kernels.paged_attention.sequences import Sequences


class Tiles(NamedTuple):
    """n tiles of queries: sequence, first token of the step, number of tokens (0: nothing to do), Int32[n]."""

    sequence: jax.Array
    start: jax.Array
    length: jax.Array


class Work(NamedTuple):
    """What there is to attend to: queries [t, hq, d], and how a tile of them does.

    attend(queries [n, tokens, hq, d], the tiles that they are) -> [n, tokens, hq, v].
    """

    q: jax.Array
    sequences: Sequences
    config: XlaConfig
    attend: Callable[[jax.Array, Tiles], jax.Array]


def attend_to_decodes(work: Work, out: jax.Array) -> jax.Array:
    """`out` [t, hq, v] with the rows of the sequences with one new token.

    Sequences of like length share a step: no block of keys is read in vain.
    """
    _, kv_lens, cu_q_lens, distribution = work.sequences
    count, num_decodes = kv_lens.shape[0], distribution[0]
    index = jnp.arange(count, dtype=jnp.int32)
    length = jnp.where(index < num_decodes, kv_lens, 0)
    order = jnp.argsort(-length).astype(jnp.int32)

    def tiles(at: jax.Array) -> Tiles:
        sequence = order[jnp.minimum(at, count - 1)]
        return Tiles(sequence, cu_q_lens[sequence], (at < num_decodes).astype(jnp.int32))

    return _steps(work, out, tiles, num_decodes, work.config.decode_width(work.q.shape[0]), 1)


def attend_to_chunks(work: Work, out: jax.Array) -> jax.Array:
    """`out` [t, hq, v] with the rows of the other sequences."""
    tokens = work.config.chunk_tokens
    _, kv_lens, cu_q_lens, distribution = work.sequences
    count = kv_lens.shape[0]
    index = jnp.arange(count, dtype=jnp.int32)
    is_chunk = (index >= distribution[0]) & (index < distribution[2])
    q_lens = jnp.where(is_chunk, cu_q_lens[1:] - cu_q_lens[:-1], 0)
    num_tiles = (q_lens + tokens - 1) // tokens
    ends = jnp.cumsum(num_tiles)

    def tiles(at: jax.Array) -> Tiles:
        sequence = jnp.sum((at[:, None] >= ends[None, :]).astype(jnp.int32), axis=1)
        sequence = jnp.minimum(sequence, count - 1)
        offset = (at - (ends - num_tiles)[sequence]) * tokens
        length = jnp.where(at < ends[-1], jnp.minimum(tokens, q_lens[sequence] - offset), 0)
        return Tiles(sequence, cu_q_lens[sequence] + offset, length)

    return _steps(work, out, tiles, ends[-1], work.config.chunk_width(work.q.shape[0]), tokens)


def _steps(
    work: Work,
    out: jax.Array,
    tiles: Callable[[jax.Array], Tiles],
    num_tiles: jax.Array,
    width: int,
    tokens: int,
) -> jax.Array:
    """Work through num_tiles tiles of `tokens` tokens, `width` at a time; tiles(index [width]) describes them."""

    def step(i: jax.Array, out: jax.Array) -> jax.Array:
        return _step(work, out, tiles(i * width + jnp.arange(width, dtype=jnp.int32)), tokens)

    return lax.fori_loop(0, (num_tiles + width - 1) // width, step, out)


def _step(work: Work, out: jax.Array, tiles: Tiles, tokens: int) -> jax.Array:
    """`out` with the rows of the tiles' tokens filled in."""
    total, q_heads, head_dim = work.q.shape
    offset = jnp.arange(tokens, dtype=jnp.int32)[None, :]
    row = tiles.start[:, None] + offset
    read = jnp.minimum(row, total - 1).reshape(-1)
    q = work.q.at[read].get(mode="promise_in_bounds").reshape(*row.shape, q_heads, head_dim)
    result = work.attend(q, tiles).reshape(-1, *out.shape[1:])
    write = jnp.where(offset < tiles.length[:, None], row, total).reshape(-1)
    return out.at[write].set(result.astype(out.dtype), mode="drop")
