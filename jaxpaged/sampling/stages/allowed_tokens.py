"""SamplingParams.allowed_token_ids: everything else is forbidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from jaxpaged.params.ranges import MAX_ALLOWED_TOKEN_IDS
from jaxpaged.sampling.stages.stage import StageContext, leading, only_if_any, token_slots
from jaxpaged.sampling_params import SamplingParams


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class AllowedTokensState:
    """The first `count` of `ids` are allowed; 0 allows all."""

    ids: Int32[Array, "n k"]
    count: Int32[Array, " n"]


@dataclass(frozen=True)
class AllowedTokens:
    name: str = "allowed_token_ids"

    def init(self, rows: int) -> AllowedTokensState:
        return AllowedTokensState(jnp.zeros((rows, MAX_ALLOWED_TOKEN_IDS), jnp.int32), jnp.zeros(rows, jnp.int32))

    def wanted(self, params: SamplingParams) -> bool:
        return params.allowed_token_ids is not None

    def encode(self, params: SamplingParams, eos_token_ids: Sequence[int]) -> AllowedTokensState:
        allowed = params.allowed_token_ids or []
        ids = np.zeros(MAX_ALLOWED_TOKEN_IDS, np.int32)
        ids[: len(allowed)] = allowed
        return AllowedTokensState(ids, np.int32(len(allowed)))

    def apply(
        self, logits: Float32[Array, "n v"], state: AllowedTokensState, ctx: StageContext
    ) -> Float32[Array, "n v"]:
        return only_if_any(state.count > 0, _forbid_others, logits, state)


def _forbid_others(logits: Float32[Array, "n v"], state: AllowedTokensState) -> Float32[Array, "n v"]:
    slots = token_slots(state.ids, leading(state.count, state.ids.shape[1]))
    everything = jnp.broadcast_to((state.count == 0)[:, None], logits.shape)
    allowed = everything.at[slots].set(True, mode="drop")
    return jnp.where(allowed, logits, -jnp.inf)
