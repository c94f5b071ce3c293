"""The k largest entries of each row, exactly as a stable sort in descending order would give them.

The k blocks with the largest maxima hold the k largest entries, so only those blocks are searched; and those blocks are
found among the maxima in the same way. XLA's own top_k looks at everything and takes three times as long on a CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from jaxpaged.sampling.reductions import pad_to

BLOCK = 32


class Top(NamedTuple):
    """Largest first; of equal values the one with the lower index first."""

    values: Float32[Array, "n k"]
    indices: Int32[Array, "n k"]


def top_k(x: Float32[Array, "n v"], k: int) -> Top:
    """k <= v. Without NaN."""
    if x.shape[1] <= 2 * k * BLOCK:
        return Top(*jax.lax.top_k(x, k))
    blocks = pad_to(x, BLOCK, -jnp.inf).reshape(x.shape[0], -1, BLOCK)
    # In ascending order, so that equal entries keep the order of their indices.
    chosen = jnp.sort(top_k(jnp.max(blocks, axis=2), k).indices, axis=1)
    entries = jnp.take_along_axis(blocks, chosen[:, :, None], axis=1).reshape(x.shape[0], -1)
    values, place = jax.lax.top_k(entries, k)
    block = jnp.take_along_axis(chosen, place // BLOCK, axis=1)
    return Top(values, block * BLOCK + place % BLOCK)
