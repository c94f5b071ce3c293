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

import jax
import jax.numpy as jnp

from pallas_kernels.paged_attention.config import XlaConfig
from pallas_kernels.paged_attention.layout import PoolLayout
from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.sequences import Sequences
from pallas_kernels.paged_attention.tokens import token_places, write_tokens
from pallas_kernels.paged_attention.xla.call import Call
from pallas_kernels.paged_attention.xla.scores import attend
from pallas_kernels.paged_attention.xla.tiles import Tiles, Work, attend_to_chunks, attend_to_decodes

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

    def attended(queries: jax.Array, tiles: Tiles) -> jax.Array:
        return attend(call, queries, tiles)

    work = Work(q, sequences, config, attended)
    out = attend_to_decodes(work, jnp.zeros_like(q))
    if q.shape[0] > 1 and not decodes_only:
        out = attend_to_chunks(work, out)
    return out, pool
