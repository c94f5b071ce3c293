"""Where top-k and top-p end in any row, by bisection over the bits of a float: exact, and without a sort."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from jaxpaged.sampling.reductions import count, row_sum

EVERY_INDEX = jnp.iinfo(jnp.int32).max
# For one number per row: (does it hold, is it exactly the one sought).
Holds = Callable[[Array], tuple[Bool[Array, " n"], Bool[Array, " n"]]]


class Cut(NamedTuple):
    """Keeps entries above `value`, and of those equal to it the ones with an index up to `last`."""

    value: Float32[Array, " n"]
    last: Int32[Array, " n"]

    def keeps(self, x: Float32[Array, "n v"]) -> Bool[Array, "n v"]:
        index = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
        value = self.value[:, None]
        return (x > value) | ((x == value) & (index <= self.last[:, None]))


def keep_by_bisection(
    logits: Float32[Array, "n v"],
    weights: Float32[Array, "n v"],
    top_k: Int32[Array, " n"],
    top_p: Float32[Array, " n"],
    min_p: Float32[Array, " n"],
) -> Float32[Array, "n v"]:
    """The weights (the largest is 1) with 0 for tokens that min-p, top-k or then top-p leaves out, as a stable sort
    would have it. A top_k of 0, a top_p of 0 or from 1 on and a min_p of 0 leave out nothing."""
    by_rank = (top_k > 0) & (top_k < logits.shape[1])
    by_mass = (top_p > 0) & (top_p < 1)

    def drop_by_rank(weights: Array) -> Array:
        left_out = ~_top_k_cut(logits, jnp.where(by_rank, top_k, 1)).keeps(logits)
        return jnp.where(by_rank[:, None] & left_out, 0, weights)

    def drop_by_mass(weights: Array) -> Array:
        left_out = ~_top_p_cut(weights, jnp.where(by_mass, top_p, 0.5)).keeps(weights)
        return jnp.where(by_mass[:, None] & left_out, 0, weights)

    weights = jnp.where(weights < min_p[:, None], 0, weights)
    for rows, drop in ((by_rank, drop_by_rank), (by_mass, drop_by_mass)):
        weights = jax.lax.cond(jnp.any(rows), drop, lambda weights: weights, weights)
    return weights


def _top_k_cut(logits: Float32[Array, "n v"], k: Int32[Array, " n"]) -> Cut:
    def enough(value: Float32[Array, " n"]) -> tuple[Array, Array]:
        above = count(logits >= value[:, None])
        return above >= k, above == k

    low = jnp.min(jnp.where(logits == -jnp.inf, jnp.inf, logits), axis=1)
    value = _largest_value(low, jnp.max(logits, axis=1), enough)
    return _cut_ties(logits, value, k - count(logits > value[:, None]))


def _top_p_cut(weights: Float32[Array, "n v"], top_p: Float32[Array, " n"]) -> Cut:
    vocab = weights.shape[1]
    total = row_sum(weights)
    wanted = jax.lax.optimization_barrier(top_p * total)

    def enough(value: Float32[Array, " n"]) -> tuple[Array, Array]:
        mass = row_sum(jnp.where(weights >= value[:, None], weights, 0))
        return mass >= wanted, (mass >= wanted) & (mass < wanted + value)

    # Tokens lighter than this cannot together make up what may be left out.
    low = jnp.maximum(total - wanted, 0) * (0.5 / vocab)
    value = _largest_value(low, jnp.max(weights, axis=1), enough)
    heavier = row_sum(jnp.where(weights > value[:, None], weights, 0))
    equals = jnp.ceil(jnp.maximum(wanted - heavier, 0) / jnp.maximum(value, jnp.finfo(jnp.float32).tiny))
    return _cut_ties(weights, value, jnp.clip(equals, 1, vocab).astype(jnp.int32))


def _cut_ties(x: Float32[Array, "n v"], value: Float32[Array, " n"], needed: Int32[Array, " n"]) -> Cut:
    """The cut at `value` that keeps the first `needed` of the entries equal to it."""
    equal = x == value[:, None]
    index = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)

    def too_few(end: Int32[Array, " n"]) -> tuple[Array, Array]:
        return count(equal & (index < end[:, None])) < needed, jnp.zeros(end.shape, bool)

    some = count(equal) > needed
    last = _bisect(jnp.zeros_like(needed), jnp.where(some, x.shape[1], 1).astype(jnp.int32), too_few)
    return Cut(value, jnp.where(some, last, EVERY_INDEX))


def _largest_value(low: Float32[Array, " n"], high: Float32[Array, " n"], holds: Holds) -> Float32[Array, " n"]:
    """_bisect() over floats: the largest in [low, high] for which holds(), by their order-preserving integers."""
    start, end = _to_ordered(jnp.minimum(low, high)), _to_ordered(high) + 1
    return _from_ordered(_bisect(start, end, lambda middle: holds(_from_ordered(middle))))


def _bisect(low: Int32[Array, " n"], high: Int32[Array, " n"], holds: Holds) -> Int32[Array, " n"]:
    """Per row the largest integer from low up to, not including, high for which holds().

    holds(low) is taken for granted, and that holds() is true up to some integer. A row is done when its number is
    exact or the only one left. Rows do not influence each other; finished rows wait for the last one.
    """

    def unfinished(state: tuple[Array, Array]) -> Array:
        return jnp.any(state[0] < state[1] - 1)

    def halve(state: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = state
        middle = (low & high) + ((low ^ high) >> 1)  # their mean, without overflow
        enough, exact = holds(middle)
        unsettled = low < high - 1
        new_high = jnp.where(enough, jnp.where(exact, middle + 1, high), middle)
        return jnp.where(unsettled & enough, middle, low), jnp.where(unsettled, new_high, high)

    return jax.lax.while_loop(unfinished, halve, (low, high))[0]


def _to_ordered(x: Float32[Array, " n"]) -> Int32[Array, " n"]:
    """An integer image of floats with the same order."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _from_ordered(bits: Int32[Array, " n"]) -> Float32[Array, " n"]:
    return jax.lax.bitcast_convert_type(bits ^ ((bits >> 31) & 0x7FFFFFFF), jnp.float32)
