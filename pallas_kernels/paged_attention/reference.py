"""Paged attention, obvious and slow: gather every page of each token's sequence, one dense softmax in float32.

The oracle for every other implementation, at every shape that the contract allows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pallas_kernels.paged_attention.layout import PoolLayout
from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.sequences import Sequences
from pallas_kernels.paged_attention.tokens import token_places, write_tokens


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
) -> tuple[jax.Array, jax.Array]:
    """See api.paged_attention. Needs memory for t * p * page_size keys and values in float32."""
    tokens, q_heads, head_dim = q.shape
    kv_heads = k.shape[1]
    page_size = layout.sizes(pool)["slot"]
    places = token_places(tokens, sequences, page_size)
    pool = write_tokens(pool, layer, k, v, places, layout)

    pages = pool[layer][sequences.page_table[places.sequence].reshape(-1)]
    pages = layout.split(pages, head_dim).reshape(tokens, -1, 2, kv_heads, page_size, head_dim)
    keys, values = (
        pages[:, :, i].swapaxes(1, 2).reshape(tokens, kv_heads, -1, head_dim).astype(jnp.float32) for i in (0, 1)
    )
    k_pos = jnp.arange(keys.shape[2], dtype=jnp.int32)
    distance = places.position[:, None] - k_pos[None, :]
    visible = (distance >= 0) & places.valid[:, None]
    if score.window is not None:
        visible &= distance < score.window
    if score.chunk is not None:
        visible &= k_pos[None, :] >= places.position[:, None] // score.chunk * score.chunk

    groups = q.astype(jnp.float32).reshape(tokens, kv_heads, -1, head_dim)
    s = score.scale * jnp.einsum("thgd,thkd->thgk", groups, keys, precision="highest")
    s = s.reshape(tokens, q_heads, -1)
    if score.soft_cap is not None:
        s = score.soft_cap * jnp.tanh(s / score.soft_cap)
    if alibi_slopes is not None:
        s = s - alibi_slopes[None, :, None] * distance[:, None, :].astype(jnp.float32)
    s = jnp.where(visible[:, None, :], s, -jnp.inf)
    extra = jnp.full((q_heads,), -jnp.inf) if sinks is None else sinks
    top = jnp.maximum(jnp.max(s, axis=-1), extra[None, :])
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    p = jnp.exp(s - top[:, :, None])
    total = jnp.sum(p, axis=-1) + jnp.exp(extra[None, :] - top)
    p = p / jnp.where(total > 0, total, 1.0)[:, :, None]
    values = jnp.where(visible[:, None, :, None], values, 0.0)
    out = jnp.einsum("thgk,thkd->thgd", p.reshape(tokens, kv_heads, -1, p.shape[-1]), values, precision="highest")
    return out.reshape(q.shape).astype(q.dtype), pool
