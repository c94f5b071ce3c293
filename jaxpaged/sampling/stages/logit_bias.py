"""SamplingParams.logit_bias: numbers added to the logits of some tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from jaxpaged.params.ranges import MAX_LOGIT_BIAS
from jaxpaged.sampling.stages.stage import StageContext, leading, only_if_any, token_slots
from jaxpaged.sampling_params import SamplingParams


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class LogitBiasState:
    """The first `count` slots hold a bias."""

    ids: Int32[Array, "n k"]
    biases: Float32[Array, "n k"]
    count: Int32[Array, " n"]


@dataclass(frozen=True)
class LogitBias:
    name: str = "logit_bias"

    def init(self, rows: int) -> LogitBiasState:
        shape = (rows, MAX_LOGIT_BIAS)
        return LogitBiasState(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32), jnp.zeros(rows, jnp.int32))

    def wanted(self, params: SamplingParams) -> bool:
        return bool(params.logit_bias)

    def encode(self, params: SamplingParams, eos_token_ids: Sequence[int]) -> LogitBiasState:
        given = params.logit_bias or {}
        ids, biases = np.zeros(MAX_LOGIT_BIAS, np.int32), np.zeros(MAX_LOGIT_BIAS, np.float32)
        ids[: len(given)] = list(given)
        biases[: len(given)] = list(given.values())
        return LogitBiasState(ids, biases, np.int32(len(given)))

    def apply(self, logits: Float32[Array, "n v"], state: LogitBiasState, ctx: StageContext) -> Float32[Array, "n v"]:
        return only_if_any(state.count > 0, _add, logits, state)


def _add(logits: Float32[Array, "n v"], state: LogitBiasState) -> Float32[Array, "n v"]:
    slots = token_slots(state.ids, leading(state.count, state.ids.shape[1]))
    return logits.at[slots].add(state.biases, mode="drop")
