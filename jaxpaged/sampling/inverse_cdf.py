"""Draw a token from weights with one uniform number: the first token at which the running sum passes it.

The running sum is over 128 columns, then within one column, never over the vocabulary. Tokens are therefore met column
by column; any fixed order draws from the same distribution.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from jaxpaged.sampling.reductions import LANES, at, column_sums, columns, first_true, prefix_sum, row_sum


def draw(weights: Float32[Array, "n v"], uniform: Float32[Array, " n"]) -> Int32[Array, " n"]:
    """A token with a weight above 0, chosen in proportion to the weights (>= 0, any scale)."""
    return _walk(weights, jax.lax.optimization_barrier(uniform * row_sum(weights)))


def _walk(weights: Float32[Array, "n v"], target: Float32[Array, " n"]) -> Int32[Array, " n"]:
    if weights.shape[1] <= LANES:
        return _first_past(weights, target)[0]
    lane, rest = _first_past(column_sums(weights), target)
    column = jnp.take_along_axis(columns(weights), lane[:, None, None], axis=2)[:, :, 0]
    return _walk(column, rest) * LANES + lane


def _first_past(
    weights: Float32[Array, "n k"], target: Float32[Array, " n"]
) -> tuple[Int32[Array, " n"], Float32[Array, " n"]]:
    """Index of the first weight above 0 whose running sum exceeds target, and what is left of target before it."""
    running = prefix_sum(weights)
    index = first_true((running > target[:, None]) & (weights > 0))
    # Rounding can leave target at or above the last sum: then the last weight above 0.
    last = weights.shape[1] - 1 - first_true(jnp.flip(weights, axis=1) > 0)
    index = jnp.maximum(jnp.minimum(index, last), 0)
    before = at(running, index) - at(weights, index)
    return index, jnp.maximum(target - before, 0)
