"""SamplingParams.min_tokens: no end token and no stop token before so many tokens are generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from jaxpaged.errors import RequestError
from jaxpaged.params.ranges import MAX_STOP_TOKEN_IDS
from jaxpaged.sampling.stages.stage import StageContext, leading, only_if_any, token_slots
from jaxpaged.sampling_params import SamplingParams

MAX_EOS_TOKEN_IDS = 128


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class MinTokensState:
    """The first `count` of `ids` end a generation."""

    min_tokens: Int32[Array, " n"]
    ids: Int32[Array, "n k"]
    count: Int32[Array, " n"]


@dataclass(frozen=True)
class MinTokens:
    name: str = "min_tokens"

    def init(self, rows: int) -> MinTokensState:
        zeros = jnp.zeros(rows, jnp.int32)
        return MinTokensState(zeros, jnp.zeros((rows, MAX_STOP_TOKEN_IDS + MAX_EOS_TOKEN_IDS), jnp.int32), zeros)

    def wanted(self, params: SamplingParams) -> bool:
        return params.min_tokens > 0

    def encode(self, params: SamplingParams, eos_token_ids: Sequence[int]) -> MinTokensState:
        # As in vLLM the end tokens are held back even with ignore_eos.
        ending = sorted({*(params.stop_token_ids or ()), *eos_token_ids})
        ids = np.zeros(MAX_STOP_TOKEN_IDS + MAX_EOS_TOKEN_IDS, np.int32)
        if len(ending) > len(ids):
            raise RequestError(f"min_tokens works with at most {len(ids)} stop and end tokens.", "min_tokens")
        ids[: len(ending)] = ending
        return MinTokensState(np.int32(params.min_tokens), ids, np.int32(len(ending)))

    def apply(self, logits: Float32[Array, "n v"], state: MinTokensState, ctx: StageContext) -> Float32[Array, "n v"]:
        early = ctx.length - ctx.prompt_len < state.min_tokens
        return only_if_any(early, _forbid_ending, logits, state.ids, jnp.where(early, state.count, 0))


def _forbid_ending(
    logits: Float32[Array, "n v"], ids: Int32[Array, "n k"], count: Int32[Array, " n"]
) -> Float32[Array, "n v"]:
    return logits.at[token_slots(ids, leading(count, ids.shape[1]))].set(-jnp.inf, mode="drop")
