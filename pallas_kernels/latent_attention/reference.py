"""Latent attention, obvious and slow: gather every page of each token's sequence, one dense softmax in float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pallas_kernels.latent_attention.rows import write_rows
from pallas_kernels.paged_attention.sequences import Sequences
from pallas_kernels.paged_attention.tokens import token_places


def latent_attention(
    q: jax.Array,
    rows: jax.Array,
    pool: jax.Array,
    layer: jax.Array,
    sequences: Sequences,
    *,
    scale: float,
    value_lanes: int,
) -> tuple[jax.Array, jax.Array]:
    """See api.latent_attention. Needs memory for t * p * page_size rows in float32."""
    tokens, _, lanes = q.shape
    places = token_places(tokens, sequences, pool.shape[2])
    pool = write_rows(pool, layer, rows, places)
    seen = pool[layer][sequences.page_table[places.sequence]].reshape(tokens, -1, pool.shape[3])[..., :lanes]
    k_pos = jnp.arange(seen.shape[1], dtype=jnp.int32)
    visible = (k_pos[None, :] <= places.position[:, None]) & places.valid[:, None]
    seen = jnp.where(visible[:, :, None], seen.astype(jnp.float32), 0.0)
    s = scale * jnp.einsum("thl,tkl->thk", q.astype(jnp.float32), seen, precision="highest")
    s = jnp.where(visible[:, None, :], s, -jnp.inf)
    top = jnp.max(s, axis=-1, keepdims=True)
    p = jnp.exp(s - jnp.where(jnp.isfinite(top), top, 0.0))
    total = jnp.sum(p, axis=-1, keepdims=True)
    p = p / jnp.where(total > 0, total, 1.0)
    return jnp.einsum("thk,tkv->thv", p, seen[..., :value_lanes], precision="highest").astype(q.dtype), pool
