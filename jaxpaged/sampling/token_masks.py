"""Bits that say which tokens may follow, laid over logits."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Int32

WORD = 32  # tokens a word


def num_words(vocab: int) -> int:
    """Words of a mask for `vocab` logits."""
    return -(-vocab // WORD)


def apply_masks(logits: Float32[Array, "d n v"], words: Int32[Array, "d n w"]) -> Float32[Array, "d n v"]:
    """Logits with -inf where the bit of a token is 0; bit i % 32 of word i // 32 is that of token i.

    A row whose bits are all set keeps its logits exactly.
    """
    bits = (words[..., None] >> lax.broadcasted_iota(jnp.int32, (1, 1, 1, WORD), 3)) & 1
    allowed = bits.reshape(*words.shape[:-1], -1)[..., : logits.shape[-1]] != 0
    return jnp.where(allowed, logits, -jnp.inf)
