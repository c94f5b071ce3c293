"""Latent attention in plain XLA: the walk of paged_attention/xla over tiles and blocks, with rows for keys and values.

Bitwise independent of batch, chunk and bucket for the same reasons. The lanes behind the value are multiplied too and
cut off at the end: cheaper than a copy of the block without them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from pallas_kernels.latent_attention.config import XLA
from pallas_kernels.latent_attention.rows import pad_lanes, write_rows
from pallas_kernels.paged_attention.config import XlaConfig
from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.sequences import Sequences
from pallas_kernels.paged_attention.tokens import token_places
from pallas_kernels.paged_attention.xla.exact import dot_nt, pad_rows
from pallas_kernels.paged_attention.xla.pages import block_pages, keep_held
from pallas_kernels.paged_attention.xla.softmax import LOG2E, LOWEST, Softmax, add_block, empty, result
from pallas_kernels.paged_attention.xla.span import Span, block_of, span_of
from pallas_kernels.paged_attention.xla.tiles import Tiles, Work, attend_to_chunks, attend_to_decodes


def latent_attention(
    q: jax.Array,
    rows: jax.Array,
    pool: jax.Array,
    layer: jax.Array,
    sequences: Sequences,
    *,
    scale: float,
    value_lanes: int,
    config: XlaConfig = XLA,
) -> tuple[jax.Array, jax.Array]:
    """See api.latent_attention."""
    pool = write_rows(pool, layer, rows, token_places(q.shape[0], sequences, pool.shape[2]))
    q_rows = pad_lanes(q, pool)

    def attended(queries: jax.Array, tiles: Tiles) -> jax.Array:
        span = span_of(sequences, tiles, queries.shape[1])
        return _attend(queries, span, pool, layer, ScoreMod(scale), config)[..., :value_lanes]

    work = Work(q_rows, sequences, config, attended)
    out = attend_to_decodes(work, jnp.zeros((*q.shape[:2], value_lanes), q.dtype))
    if q.shape[0] > 1:
        out = attend_to_chunks(work, out)
    return out, pool


def _attend(
    q: jax.Array, span: Span, pool: jax.Array, layer: jax.Array, score: ScoreMod, config: XlaConfig
) -> jax.Array:
    """q [n, tokens, h, width], queries of tiles -> float32 of the same shape."""
    width, tokens, heads, lanes = q.shape
    _, num_pages, page_size, _ = pool.shape
    pages = config.pages_per_block(page_size)
    keys = pages * page_size
    queries = pad_rows(q.reshape(width, tokens * heads, lanes))
    stored = pool.reshape(-1, page_size, lanes)

    def merge(j: jax.Array, state: Softmax) -> Softmax:
        block = jnp.full((width,), j, jnp.int32)
        held, _, visible = block_of(span, block, keys, score)
        held = held.reshape(width, pages, page_size)
        at = lax.optimization_barrier((layer * num_pages + block_pages(span.table, block, held)).reshape(-1))
        kept = lax.optimization_barrier(held.reshape(-1, page_size, 1))
        read = keep_held(stored.at[at].get(mode="promise_in_bounds"), kept)
        read = lax.optimization_barrier(read).reshape(width, keys, lanes)
        s = dot_nt(queries, read)[:, : tokens * heads].reshape(*state.top.shape, keys) * (score.scale * LOG2E)
        s = lax.optimization_barrier(jnp.where(visible[:, None, :, None, :], s, LOWEST))
        return add_block(state, s, read)

    blocks = jnp.max(span.last // keys + 1)
    return result(lax.fori_loop(0, blocks, merge, empty((width, 1, tokens, heads), lanes)))
