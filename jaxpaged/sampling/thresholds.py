"""Top-k, top-p and min-p without sorting the vocabulary.

All three keep a prefix of the tokens in the order of a stable descending sort: the first k, the fewest whose
probabilities reach p, those at least min_p times as likely as the first. The end of such a prefix is a Cut. For most
rows it lies among the CANDIDATES best tokens; for the others it is found by bisection over the bits of a float.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from jaxpaged.sampling.rows import at, count, first_true, prefix_sum, row_sum
from jaxpaged.sampling.top_k import Top, top_k

CANDIDATES = 64
GROUP = 8
EVERY_INDEX = jnp.iinfo(jnp.int32).max


class Cut(NamedTuple):
    """Keeps entries above `value`, and of those equal to it the ones with an index up to `last`."""

    value: Float32[Array, " n"]
    last: Int32[Array, " n"]

    def keeps(self, x: Float32[Array, "n v"]) -> Bool[Array, "n v"]:
        index = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
        value = self.value[:, None]
        return (x > value) | ((x == value) & (index <= self.last[:, None]))

    def where(self, rows: Bool[Array, " n"], other: Cut) -> Cut:
        """This cut in the rows that are True, the other one elsewhere."""
        return Cut(jnp.where(rows, self.value, other.value), jnp.where(rows, self.last, other.last))


def truncate(
    logits: Float32[Array, "n v"],
    weights: Float32[Array, "n v"],
    top_k_: Int32[Array, " n"],
    top_p: Float32[Array, " n"],
    min_p: Float32[Array, " n"],
) -> Float32[Array, "n v"]:
    """The weights with 0 for every token that min-p, top-k and then top-p leave out.

    weights are exp(scaled logits - their maximum), so the largest is 1. A top_k of 0, a top_p of 0 or from 1 on and a
    min_p of 0 leave out nothing.
    """
    best = top_k(logits, min(CANDIDATES, logits.shape[1]))
    cut = _top_k_cut(logits, best, top_k_)
    kept = jnp.where(cut.keeps(logits) & (weights >= min_p[:, None]), weights, 0)
    cut = _top_p_cut(kept, best, top_p)
    return jnp.where(cut.keeps(kept), kept, 0)


def _no_cut(rows: int) -> Cut:
    return Cut(jnp.full(rows, -jnp.inf, jnp.float32), jnp.full(rows, EVERY_INDEX, jnp.int32))


def _top_k_cut(logits: Float32[Array, "n v"], best: Top, k: Int32[Array, " n"]) -> Cut:
    width, vocab = best.values.shape[1], logits.shape[1]
    used = (k > 0) & (k < vocab)
    last = jnp.clip(k - 1, 0, width - 1)
    cut = Cut(at(best.values, last), at(best.indices, last)).where(used, _no_cut(len(k)))
    return _search(used & (k > width), cut, _search_top_k, (logits, k, best.values[:, -1]))


def _search_top_k(logits: Float32[Array, "n v"], k: Int32[Array, " n"], high: Float32[Array, " n"]) -> Cut:
    """The k-th largest logit, known to be at most `high`."""

    def enough(value: Float32[Array, " n"]) -> tuple[Array, Array]:
        above = count(logits >= value[:, None])
        return above >= k, above == k

    low = jnp.min(jnp.where(logits == -jnp.inf, jnp.inf, logits), axis=1)
    value = _largest_value(low, high, enough)
    return _cut_ties(logits, value, k - count(logits > value[:, None]))


def _top_p_cut(weights: Float32[Array, "n v"], best: Top, top_p: Float32[Array, " n"]) -> Cut:
    used = (top_p > 0) & (top_p < 1)
    total = row_sum(weights)
    wanted = jax.lax.optimization_barrier(top_p * total)
    best_weights = jnp.take_along_axis(weights, best.indices, axis=1)
    reached = prefix_sum(best_weights) >= wanted[:, None]
    last = jnp.minimum(first_true(reached), reached.shape[1] - 1)
    cut = Cut(at(best_weights, last), at(best.indices, last)).where(used, _no_cut(len(top_p)))
    return _search(used & ~reached[:, -1], cut, _search_top_p, (weights, wanted, total, best_weights[:, -1]))


def _search_top_p(
    weights: Float32[Array, "n v"],
    wanted: Float32[Array, " n"],
    total: Float32[Array, " n"],
    high: Float32[Array, " n"],
) -> Cut:
    """The largest weight, known to be at most `high`, such that it and the heavier ones sum to `wanted`."""
    vocab = weights.shape[1]

    def enough(value: Float32[Array, " n"]) -> tuple[Array, Array]:
        mass = row_sum(jnp.where(weights >= value[:, None], weights, 0))
        return mass >= wanted, (mass >= wanted) & (mass < wanted + value)

    # Tokens lighter than this cannot together make up what may be left out.
    low = jnp.maximum(total - wanted, 0) * (0.5 / vocab)
    value = _largest_value(low, high, enough)
    heavier = row_sum(jnp.where(weights > value[:, None], weights, 0))
    equals = jnp.ceil(jnp.maximum(wanted - heavier, 0) / jnp.maximum(value, jnp.finfo(jnp.float32).tiny))
    return _cut_ties(weights, value, jnp.clip(equals, 1, vocab).astype(jnp.int32))


def _search(rows: Bool[Array, " n"], cut: Cut, search: Callable[..., Cut], operands: tuple[Array, ...]) -> Cut:
    """`cut` with the rows that are True replaced by search(*operands) of those rows.

    Few rows need a search, so they are gathered and searched GROUP at a time.
    """
    size = min(GROUP, len(rows))
    order = jnp.argsort(~rows, stable=True)

    def one_group(group: Array, cut: Cut) -> Cut:
        index = jax.lax.dynamic_slice_in_dim(order, group * size, size)
        found = search(*(operand[index] for operand in operands))
        found = found.where(rows[index], Cut(cut.value[index], cut.last[index]))
        return Cut(cut.value.at[index].set(found.value), cut.last.at[index].set(found.last))

    groups = (jnp.sum(rows.astype(jnp.int32), dtype=jnp.int32) + (size - 1)) // size
    return jax.lax.fori_loop(0, groups, one_group, cut)


def _cut_ties(x: Float32[Array, "n v"], value: Float32[Array, " n"], needed: Int32[Array, " n"]) -> Cut:
    """The cut at `value` that keeps the first `needed` of the entries equal to it."""
    equal = x == value[:, None]
    index = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)

    def too_few(end: Int32[Array, " n"]) -> tuple[Array, Array]:
        return count(equal & (index < end[:, None])) < needed, jnp.zeros(end.shape, bool)

    some = count(equal) > needed
    last = _bisect(jnp.zeros_like(needed), jnp.where(some, x.shape[1], 1).astype(jnp.int32), too_few)
    return Cut(value, jnp.where(some, last, EVERY_INDEX))


def _largest_value(
    low: Float32[Array, " n"],
    high: Float32[Array, " n"],
    holds: Callable[[Float32[Array, " n"]], tuple[Array, Array]],
) -> Float32[Array, " n"]:
    """_bisect() over floats: the largest in [low, high] for which holds(), by their order-preserving integers."""
    start, end = _to_ordered(jnp.minimum(low, high)), _to_ordered(high) + 1
    return _from_ordered(_bisect(start, end, lambda middle: holds(_from_ordered(middle))))


def _bisect(
    low: Int32[Array, " n"],
    high: Int32[Array, " n"],
    holds: Callable[[Int32[Array, " n"]], tuple[Array, Array]],
) -> Int32[Array, " n"]:
    """Per row the largest integer from low up to, not including, high for which holds().

    holds(low) is taken for granted, and that holds() is true up to some integer. It returns (holds, exact): an exact
    row is done. Rows do not influence each other; finished rows wait for the last one.
    """

    def unfinished(state: tuple[Array, Array]) -> Array:
        return jnp.any(state[0] < state[1] - 1)

    def halve(state: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = state
        middle = (low & high) + ((low ^ high) >> 1)  # their mean, without overflow
        enough, exact = holds(middle)
        open_ = low < high - 1
        new_low = jnp.where(enough, middle, low)
        new_high = jnp.where(enough, jnp.where(exact, middle + 1, high), middle)
        return jnp.where(open_, new_low, low), jnp.where(open_, new_high, high)

    return jax.lax.while_loop(unfinished, halve, (low, high))[0]


def _to_ordered(x: Float32[Array, " n"]) -> Int32[Array, " n"]:
    """An integer image of floats with the same order."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _from_ordered(bits: Int32[Array, " n"]) -> Float32[Array, " n"]:
    return jax.lax.bitcast_convert_type(bits ^ ((bits >> 31) & 0x7FFFFFFF), jnp.float32)
