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

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from pallas_kernels.paged_attention.config import XlaConfig
from pallas_kernels.paged_attention.layout import PoolLayout
from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.sequences import Sequences
from pallas_kernels.paged_attention.tokens import token_places, write_tokens
from pallas_kernels.paged_attention.xla.call import Call, Tiles
from pallas_kernels.paged_attention.xla.softmax import attend

CONFIG = XlaConfig()


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
    config: XlaConfig = CONFIG,
) -> tuple[jax.Array, jax.Array]:
    """See api.paged_attention."""
    places = token_places(q.shape[0], sequences, layout.sizes(pool)["slot"])
    pool = write_tokens(pool, layer, k, v, places, layout)
    call = Call(q, pool, layer, sequences, alibi_slopes, sinks, score=score, layout=layout, config=config)
    out = _decodes(call, jnp.zeros_like(q))
    if q.shape[0] > 1 and not decodes_only:
        out = _chunks(call, out)
    return out, pool


def _decodes(call: Call, out: jax.Array) -> jax.Array:
    """Sequences of like length share a step: no block of keys is read in vain."""
    _, kv_lens, cu_q_lens, distribution = call.sequences
    count, num_decodes = kv_lens.shape[0], distribution[0]
    index = jnp.arange(count, dtype=jnp.int32)
    length = jnp.where(index < num_decodes, kv_lens, 0)
    order = jnp.argsort(-length).astype(jnp.int32)

    def tiles(at: jax.Array) -> Tiles:
        sequence = order[jnp.minimum(at, count - 1)]
        return Tiles(sequence, cu_q_lens[sequence], (at < num_decodes).astype(jnp.int32))

    return _steps(call, out, tiles, num_decodes, call.config.decode_width(call.q.shape[0]), 1)


def _chunks(call: Call, out: jax.Array) -> jax.Array:
    tokens = call.config.chunk_tokens
    _, kv_lens, cu_q_lens, distribution = call.sequences
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

    return _steps(call, out, tiles, ends[-1], call.config.chunk_width(call.q.shape[0]), tokens)


def _steps(
    call: Call,
    out: jax.Array,
    tiles: Callable[[jax.Array], Tiles],
    num_tiles: jax.Array,
    width: int,
    tokens: int,
) -> jax.Array:
    """Work through num_tiles tiles of `tokens` tokens, `width` at a time; tiles(index [width]) describes them."""

    def step(i: jax.Array, out: jax.Array) -> jax.Array:
        return _step(call, out, tiles(i * width + jnp.arange(width, dtype=jnp.int32)), tokens)

    return lax.fori_loop(0, (num_tiles + width - 1) // width, step, out)


def _step(call: Call, out: jax.Array, tiles: Tiles, tokens: int) -> jax.Array:
    """out [t, hq, d] with the rows of the tiles' tokens filled in."""
    total, q_heads, head_dim = call.q.shape
    offset = jnp.arange(tokens, dtype=jnp.int32)[None, :]
    row = tiles.start[:, None] + offset
    read = jnp.minimum(row, total - 1).reshape(-1)
    q = call.q.at[read].get(mode="promise_in_bounds").reshape(*row.shape, q_heads, head_dim)
    result = attend(call, q, tiles).reshape(-1, q_heads, head_dim)
    write = jnp.where(offset < tiles.length[:, None], row, total).reshape(-1)
    return out.at[write].set(result.astype(out.dtype), mode="drop")
