"""What the metadata of a step says about each token: its sequence, its position, the slot that it is written to."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pallas_kernels.paged_attention.layout import PoolLayout
from pallas_kernels.paged_attention.sequences import Sequences


class TokenPlaces(NamedTuple):
    """Per token of the step, Int32[t] (valid: Bool[t]). Padding tokens have page 0."""

    sequence: jax.Array
    position: jax.Array
    page: jax.Array
    slot: jax.Array
    valid: jax.Array


def token_places(tokens: int, sequences: Sequences, page_size: int) -> TokenPlaces:
    """Place of each of the step's `tokens` tokens."""
    page_table, kv_lens, cu_q_lens, distribution = sequences
    index = jnp.arange(tokens, dtype=jnp.int32)
    count = kv_lens.shape[0]
    ends = jnp.where(jnp.arange(count, dtype=jnp.int32) < distribution[2], cu_q_lens[1:], jnp.int32(2**31 - 1))
    sequence = jnp.sum((index[:, None] >= ends[None, :]).astype(jnp.int32), axis=1)
    sequence = jnp.minimum(sequence, count - 1)
    valid = index < cu_q_lens[distribution[2]]
    position = jnp.where(valid, kv_lens[sequence] - cu_q_lens[sequence + 1] + index, 0)
    page = jnp.where(valid, page_table[sequence, position // page_size], 0)
    slot = jnp.where(valid, position, index) % page_size
    return TokenPlaces(sequence, position, page, slot, valid)


def write_tokens(
    pool: jax.Array, layer: jax.Array, k: jax.Array, v: jax.Array, places: TokenPlaces, layout: PoolLayout
) -> jax.Array:
    """The pool with k, v [t, hkv, d] of the step's tokens written into their slots of `layer`."""
    kv = jnp.stack([k, v], axis=1).astype(pool.dtype)  # [t, 2, hkv, d]
    values = layout.join(kv[:, :, :, None]).squeeze(1 + layout.axes[2:].index("slot"))
    index = {"layer": layer, "page": places.page, "slot": places.slot}
    where = tuple(index.get(axis, slice(None)) for axis in layout.axes)
    return pool.at[where].set(values, mode="promise_in_bounds")
