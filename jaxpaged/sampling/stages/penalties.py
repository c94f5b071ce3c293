"""Presence and frequency penalties over the generated text, repetition penalty over prompt and generated text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from jaxpaged.sampling.stages.stage import StageContext, only_if_any, token_slots
from jaxpaged.sampling_params import SamplingParams

CHUNK = 512  # tokens of history counted at a time, so that a long context costs nothing to short rows
LARGEST = 1e30  # an extreme repetition penalty must not make an infinite logit
TINY = np.finfo(np.float32).tiny


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class PenaltiesState:
    """A repetition penalty of 0 stands for 1."""

    presence: Float32[Array, " n"]
    frequency: Float32[Array, " n"]
    repetition: Float32[Array, " n"]


@dataclass(frozen=True)
class Penalties:
    name: str = "penalties"

    def init(self, rows: int) -> PenaltiesState:
        zeros = jnp.zeros(rows, jnp.float32)
        return PenaltiesState(zeros, zeros, zeros)

    def wanted(self, params: SamplingParams) -> bool:
        return (params.presence_penalty, params.frequency_penalty, params.repetition_penalty) != (0.0, 0.0, 1.0)

    def encode(self, params: SamplingParams, eos_token_ids: Sequence[int]) -> PenaltiesState:
        repetition = max(np.float32(params.repetition_penalty), TINY)
        return PenaltiesState(np.float32(params.presence_penalty), np.float32(params.frequency_penalty), repetition)

    def apply(self, logits: Float32[Array, "n v"], state: PenaltiesState, ctx: StageContext) -> Float32[Array, "n v"]:
        used = (state.presence != 0) | (state.frequency != 0) | (state.repetition != 0)
        return only_if_any(used, _penalise, logits, state, ctx)


def _penalise(logits: Float32[Array, "n v"], state: PenaltiesState, ctx: StageContext) -> Float32[Array, "n v"]:
    used = (state.presence != 0) | (state.frequency != 0) | (state.repetition != 0)
    marks = _marks(ctx, jnp.where(used, ctx.length, 0), logits.shape[1])
    generated = marks >> 1
    repetition = jnp.where(state.repetition == 0, 1, state.repetition)[:, None]
    repeated = jnp.where(logits > 0, logits / repetition, logits * repetition)
    repeated = jnp.where(logits == -jnp.inf, logits, jnp.clip(repeated, -LARGEST, LARGEST))
    logits = jnp.where(marks > 0, repeated, logits)
    # The barrier keeps the product from being fused into the difference, which would round by program, not by row.
    frequent: Array = jax.lax.optimization_barrier(state.frequency[:, None] * generated.astype(jnp.float32))
    return logits - frequent - jnp.where(generated > 0, state.presence[:, None], 0)


def _marks(ctx: StageContext, length: Int32[Array, " n"], vocab: int) -> Int32[Array, "n v"]:
    """2 x how often each token was generated, + 1 if the prompt holds it and it counts once more for nothing else."""
    rows, capacity = ctx.history.shape
    chunk = min(CHUNK, capacity)

    def count(step: Array, marks: Array) -> Array:
        start = jnp.minimum(step * chunk, capacity - chunk)
        tokens = jax.lax.dynamic_slice_in_dim(ctx.history, start, chunk, axis=1)
        place = jnp.broadcast_to(start + jnp.arange(chunk, dtype=jnp.int32)[None, :], (rows, chunk))
        fresh = (place >= step * chunk) & (place < length[:, None])
        prompt = place < ctx.prompt_len[:, None]
        # A row's prompt comes first, so a mark is 0 or 1 when max() meets it.
        marks = marks.at[token_slots(tokens, fresh & prompt)].max(1, mode="drop")
        return marks.at[token_slots(tokens, fresh & ~prompt)].add(2, mode="drop")

    steps = (jnp.max(length) + (chunk - 1)) // chunk
    marks: Array = jax.lax.fori_loop(0, steps, count, jnp.zeros((rows, vocab), jnp.int32))
    return marks
