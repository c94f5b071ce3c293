"""Log probabilities (or logits) of the token of a position, of the best few and of ids that a request names."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from jaxpaged.sampling.reductions import at, count, row_log, row_sum
from jaxpaged.sampling.top_k import top_k


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class SampledLogprobs:
    """Per row: its token, that token's log probability and rank (how many tokens are at least as likely), and the
    best tokens in order, or the ids that the request named in place of them, in its order."""

    token_ids: Int32[Array, " n"]
    logprobs: Float32[Array, " n"]
    ranks: Int32[Array, " n"]
    top_ids: Int32[Array, "n k"]
    top_logprobs: Float32[Array, "n k"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class NamedIds:
    """SamplingParams.logprob_token_ids: the first `count` of `ids`; 0 = the best tokens instead."""

    ids: Int32[Array, "n 128"]
    count: Int32[Array, " n"]


def log_normaliser(logits: Float32[Array, "n v"]) -> Float32[Array, " n"]:
    """What to subtract from a row's logits to get log probabilities."""
    largest = jnp.max(logits, axis=1)
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    shifted = jax.lax.optimization_barrier(logits - largest[:, None])
    return largest + row_log(row_sum(jnp.exp(shifted)))


def sampled_logprobs(
    logits: Float32[Array, "n v"],
    normaliser: Float32[Array, " n"],
    tokens: Int32[Array, " n"],
    num_top: int,
    named: NamedIds,
    use_named: Bool[Array, " n"],
) -> SampledLogprobs:
    """Scores are logits minus `normaliser` (0 for plain logits). num_top <= vocabulary; the width of the result is
    the larger of num_top and the room for named ids."""
    score = at(logits, tokens)
    best = top_k(logits, num_top) if num_top else None
    width = max(num_top, named.ids.shape[1])
    room = ((0, 0), (0, width - num_top))
    ids = jnp.pad(best.indices, room) if best else jnp.zeros((len(tokens), width), jnp.int32)
    scores = jnp.pad(best.values, room) if best else jnp.zeros((len(tokens), width), jnp.float32)
    named_ids = jnp.pad(named.ids, ((0, 0), (0, width - named.ids.shape[1])))
    swap = (use_named & (named.count > 0))[:, None]
    named_scores = jnp.take_along_axis(logits, named_ids, axis=1, mode="clip")
    return SampledLogprobs(
        token_ids=tokens,
        logprobs=score - normaliser,
        ranks=count(logits >= score[:, None]),
        top_ids=jnp.where(swap, named_ids, ids),
        top_logprobs=jnp.where(swap, named_scores, scores) - normaliser[:, None],
    )
