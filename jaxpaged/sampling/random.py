"""One uniform number per row, from the row's own seed and its position in the text."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, UInt32


def seed_words(seed: int) -> np.ndarray:
    """A 64-bit seed as the two words of a threefry key."""
    return np.array([seed >> 32 & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)


def uniforms(seed: UInt32[Array, "n 2"], position: Int32[Array, " n"]) -> Float32[Array, " n"]:
    """In [0, 1). The same (seed, position) always gives the same number."""

    def one(words: UInt32[Array, " 2"], position: Int32[Array, ""]) -> Float32[Array, ""]:
        key = jax.random.fold_in(jax.random.wrap_key_data(words, impl="threefry2x32"), position)
        return jax.random.uniform(key, dtype=jnp.float32)

    return jax.vmap(one)(seed, position)
