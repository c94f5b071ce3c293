"""SamplingParams.bad_words: the last token of a sequence is forbidden when the generated text ends with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32

from jaxpaged.params.ranges import MAX_BAD_WORD_SPELLINGS, MAX_BAD_WORDS_TOKENS
from jaxpaged.sampling.stages.stage import StageContext, only_if_any, token_slots
from jaxpaged.sampling_params import SamplingParams


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class BadWordsState:
    """Sequences one after the other in `tokens`.

    distance: how many tokens before the next one each token would stand (0 = it is the next one itself).
    ends: the place in `tokens` of each sequence's last token. lengths: tokens per sequence, 0 = unused.
    """

    tokens: Int32[Array, "n t"]
    distance: Int32[Array, "n t"]
    ends: Int32[Array, "n w"]
    lengths: Int32[Array, "n w"]


@dataclass(frozen=True)
class BadWords:
    name: str = "bad_words"

    def init(self, rows: int) -> BadWordsState:
        tokens = jnp.zeros((rows, MAX_BAD_WORDS_TOKENS), jnp.int32)
        words = jnp.zeros((rows, MAX_BAD_WORD_SPELLINGS), jnp.int32)
        return BadWordsState(tokens, tokens, words, words)

    def wanted(self, params: SamplingParams) -> bool:
        return bool(params._bad_words_token_ids)

    def encode(self, params: SamplingParams, eos_token_ids: Sequence[int]) -> BadWordsState:
        sequences = params._bad_words_token_ids or []
        tokens, distance = np.zeros((2, MAX_BAD_WORDS_TOKENS), np.int32)
        ends, lengths = np.zeros((2, MAX_BAD_WORD_SPELLINGS), np.int32)
        start = 0
        for word, sequence in enumerate(sequences):
            stop = start + len(sequence)
            tokens[start:stop] = sequence
            distance[start:stop] = np.arange(len(sequence))[::-1]
            ends[word], lengths[word] = stop - 1, len(sequence)
            start = stop
        return BadWordsState(tokens, distance, ends, lengths)

    def apply(self, logits: Float32[Array, "n v"], state: BadWordsState, ctx: StageContext) -> Float32[Array, "n v"]:
        return only_if_any(state.lengths[:, 0] > 0, _forbid_completions, logits, state, ctx)


def _forbid_completions(
    logits: Float32[Array, "n v"], state: BadWordsState, ctx: StageContext
) -> Float32[Array, "n v"]:
    last = jnp.take_along_axis(state.tokens, state.ends, axis=1)
    slots = token_slots(last, _nearly_said(state, ctx))
    return logits.at[slots].set(-jnp.inf, mode="drop")


def _nearly_said(state: BadWordsState, ctx: StageContext) -> Bool[Array, "n w"]:
    """Whether the generated text ends with all but the last token of each sequence."""
    place = ctx.length[:, None] - state.distance
    said = jnp.take_along_axis(ctx.history, jnp.maximum(place, 0), axis=1, mode="clip")
    matches = (state.distance == 0) | ((place >= ctx.prompt_len[:, None]) & (said == state.tokens))
    misses = jnp.cumsum((~matches).astype(jnp.int32), axis=1)
    until_end = jnp.take_along_axis(misses, state.ends, axis=1)
    # The last token of a sequence always matches, so counting may begin at its first token's own place.
    first = state.ends - jnp.maximum(state.lengths - 1, 0)
    own = (~jnp.take_along_axis(matches, first, axis=1)).astype(jnp.int32)
    before = jnp.take_along_axis(misses, first, axis=1) - own
    return (state.lengths > 0) & (until_end == before)
