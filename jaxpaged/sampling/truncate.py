"""Top-k, top-p and min-p without sorting the vocabulary.

All three keep a prefix of the tokens in the order of a stable descending sort: the first k, the fewest whose
probabilities reach p, those at least min_p times as likely as the first. For most rows that prefix lies among the
CANDIDATES best tokens. The others are few, and are searched by bisection a GROUP at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from jaxpaged.sampling.reductions import prefix_sum, row_sum
from jaxpaged.sampling.thresholds import keep_by_bisection
from jaxpaged.sampling.top_k import top_k

CANDIDATES = 64
GROUP = 16


class Limits(NamedTuple):
    """A top_k of 0, a top_p of 0 or from 1 on and a min_p of 0 leave out nothing."""

    top_k: Int32[Array, " n"]
    top_p: Float32[Array, " n"]
    min_p: Float32[Array, " n"]

    def any(self) -> Bool[Array, " n"]:
        return (self.top_k > 0) | self.nucleus() | (self.min_p > 0)

    def nucleus(self) -> Bool[Array, " n"]:
        return (self.top_p > 0) & (self.top_p < 1)


def truncate(logits: Float32[Array, "n v"], weights: Float32[Array, "n v"], limits: Limits) -> Float32[Array, "n v"]:
    """The weights with 0 for every token that min-p, top-k or then top-p leaves out.

    weights are exp(scaled logits - their maximum), so the largest is 1.
    """
    best = top_k(logits, min(CANDIDATES, logits.shape[1])).indices
    among, decided = _among_best(jnp.take_along_axis(weights, best, axis=1), row_sum(weights), limits, logits.shape[1])
    row = jax.lax.broadcasted_iota(jnp.int32, best.shape, 0)
    column = jnp.where(decided[:, None], best, logits.shape[1])
    kept = jnp.where(decided[:, None], 0, weights).at[row, column].set(among, mode="drop")
    return _search(limits.any() & ~decided, kept, logits, limits)


def _among_best(
    best: Float32[Array, "n c"], total: Float32[Array, " n"], limits: Limits, vocab: int
) -> tuple[Float32[Array, "n c"], Bool[Array, " n"]]:
    """The weights of the best tokens with 0 for those left out, and whether no other token is kept."""
    width = best.shape[1]
    k = jnp.where(limits.top_k > 0, limits.top_k, vocab)[:, None]
    kept = jnp.where((jnp.arange(width, dtype=jnp.int32)[None, :] < k) & (best >= limits.min_p[:, None]), best, 0)
    closed = (k[:, 0] <= width) | (best[:, -1] < limits.min_p)
    untouched = (k[:, 0] >= vocab) & (limits.min_p == 0)
    running = prefix_sum(kept)
    mass = jnp.where(closed, running[:, -1], total)
    wanted = jnp.where(limits.nucleus(), jax.lax.optimization_barrier(limits.top_p * mass), jnp.inf)
    before = jnp.pad(running[:, :-1], ((0, 0), (1, 0)))
    decided = limits.any() & (closed | (untouched & (running[:, -1] >= wanted)))
    return jnp.where(before < wanted[:, None], kept, 0), decided


def _search(
    rows: Bool[Array, " n"], weights: Float32[Array, "n v"], logits: Float32[Array, "n v"], limits: Limits
) -> Float32[Array, "n v"]:
    """The weights with the rows that are True replaced by what bisection keeps of them."""
    size = min(GROUP, len(rows))
    order = jnp.argsort(~rows, stable=True)

    def one_group(group: Array, weights: Array) -> Array:
        index = jax.lax.dynamic_slice_in_dim(order, group * size, size)
        old = weights[index]
        kept = keep_by_bisection(logits[index], old, *(limit[index] for limit in limits))
        return weights.at[index].set(jnp.where(rows[index][:, None], kept, old))

    groups = (jnp.sum(rows.astype(jnp.int32), dtype=jnp.int32) + (size - 1)) // size
    searched: Array = jax.lax.fori_loop(0, groups, one_group, weights)
    return searched
