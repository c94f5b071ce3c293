"""Logits to tokens: vLLM's order of operations, one random number per row, nothing that looks at other rows.

raw log probabilities -> logit stages -> greedy, or temperature -> min-p -> top-k, top-p -> draw
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, UInt32

from jaxpaged.config import LogprobsMode
from jaxpaged.params.ranges import MAX_LOGPROB_TOKEN_IDS
from jaxpaged.sampling.inverse_cdf import draw
from jaxpaged.sampling.logprobs import NamedIds, SampledLogprobs, log_normaliser, sampled_logprobs
from jaxpaged.sampling.random import seed_words, uniforms
from jaxpaged.sampling.reductions import LANES, first_equal, pad_to, row_sum
from jaxpaged.sampling.stages import BUILTIN_STAGES
from jaxpaged.sampling.stages.stage import LogitStage, StageContext
from jaxpaged.sampling.truncate import Limits, truncate
from jaxpaged.sampling.variant import Variant
from jaxpaged.sampling_params import SamplingParams

__all__ = ["Sampled", "Sampler", "SamplerRows", "StageContext"]

TINY = np.finfo(np.float32).tiny


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class SamplerRows:
    """Device state, one entry per row. Zeros are a greedy row without any option. `stages`: one state per stage."""

    prompt_len: Int32[Array, " n"]
    seed: UInt32[Array, "n 2"]
    temperature: Float32[Array, " n"]
    top_k: Int32[Array, " n"]
    top_p: Float32[Array, " n"]
    min_p: Float32[Array, " n"]
    named: NamedIds
    stages: tuple[Any, ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class Sampled:
    """A token per row. A row that is not `finite` (a NaN, or nothing finite to choose from) has token 0.

    Such a row is `empty` where it has no NaN: every token is forbidden.
    """

    tokens: Int32[Array, " n"]
    finite: Bool[Array, " n"]
    empty: Bool[Array, " n"]
    logprobs: SampledLogprobs | None


@dataclass(frozen=True)
class Sampler:
    """Static: `vocab_size` is the unpadded vocabulary, max_logprobs -1 stands for all of it."""

    vocab_size: int
    max_logprobs: int = 20
    logprobs_mode: LogprobsMode = "raw_logprobs"
    stages: tuple[LogitStage, ...] = BUILTIN_STAGES

    def init_rows(self, rows: int) -> SamplerRows:
        ints, floats = jnp.zeros(rows, jnp.int32), jnp.zeros(rows, jnp.float32)
        return SamplerRows(
            prompt_len=ints,
            seed=jnp.zeros((rows, 2), jnp.uint32),
            temperature=floats,
            top_k=ints,
            top_p=floats,
            min_p=floats,
            named=NamedIds(jnp.zeros((rows, MAX_LOGPROB_TOKEN_IDS), jnp.int32), ints),
            stages=tuple(stage.init(rows) for stage in self.stages),
        )

    def encode_row(
        self, params: SamplingParams, prompt_len: int, seed: int, eos_token_ids: Sequence[int] = ()
    ) -> SamplerRows:
        """One row in numpy. `seed` (64 bits) is the request's, or a random one where it gave none."""
        rows = self.encode_rows([params], [prompt_len], [seed], [eos_token_ids])
        row: SamplerRows = jax.tree.map(lambda leaf: leaf[0], rows)
        return row

    def encode_rows(
        self,
        params: Sequence[SamplingParams],
        prompt_lens: Sequence[int],
        seeds: Sequence[int],
        eos_token_ids: Sequence[Sequence[int]],
    ) -> SamplerRows:
        """As encode_row(), of n requests at once: each leaf has the leading axis [n]."""
        ids = np.zeros((len(params), MAX_LOGPROB_TOKEN_IDS), np.int32)
        counts = np.zeros(len(params), np.int32)
        for index, one in enumerate(params):
            if one.logprob_token_ids:
                counts[index] = len(one.logprob_token_ids)
                ids[index, : counts[index]] = one.logprob_token_ids
        return SamplerRows(
            prompt_len=np.array(prompt_lens, np.int32),
            seed=np.array([seed_words(seed) for seed in seeds], np.uint32),
            temperature=np.array([one.temperature for one in params], np.float32),
            top_k=np.array([max(one.top_k, 0) for one in params], np.int32),
            top_p=np.maximum(np.array([one.top_p for one in params], np.float32), TINY),
            min_p=np.array([one.min_p for one in params], np.float32),
            named=NamedIds(ids, counts),
            stages=tuple(_encode(stage, params, eos_token_ids) for stage in self.stages),
        )

    def variant(self, params: SamplingParams) -> Variant:
        """The smallest variant that serves the request."""
        if params.num_logprobs is not None or params.prompt_logprobs is not None:
            return Variant.LOGPROBS
        if any(stage.wanted(params) for stage in self.stages):
            return Variant.FULL
        return Variant.GREEDY if params.greedy else Variant.PLAIN

    def sample(
        self,
        logits: Float32[Array, "n v"],
        rows: SamplerRows,
        ctx: StageContext,
        position: Int32[Array, " n"],
        *,
        variant: Variant,
        targets: Int32[Array, " n"] | None = None,
        use_targets: Bool[Array, " n"] | None = None,
    ) -> Sampled:
        """Choose a token per row. `v` may be padded; entries from vocab_size on are -inf.

        Rows with use_targets are not sampled: their token is `targets` (log probabilities of a prompt).
        """
        if targets is None or use_targets is None:
            targets, use_targets = jnp.zeros(len(position), jnp.int32), jnp.zeros(len(position), bool)
        # Whole vectors only: a compiler rounds exp() differently in the odd elements at the end of a row.
        raw = jax.lax.optimization_barrier(pad_to(logits, LANES, -jnp.inf))
        processed = self._apply_stages(raw, rows, ctx) if variant >= Variant.FULL else raw
        largest = jnp.max(processed, axis=1)
        # A sum is NaN if any of it is; so the row is read once, and quickly.
        numbers = ~jnp.isnan(row_sum(processed))
        finite, empty = jnp.isfinite(largest) & numbers, (largest == -jnp.inf) & numbers
        tokens = first_equal(processed, largest)
        weights = None
        if variant > Variant.GREEDY:
            weights = _weights(processed, largest, rows)
            drawn = draw(weights, uniforms(rows.seed, position))
            tokens = jnp.where(rows.temperature == 0, tokens, drawn)
        tokens = jnp.where(use_targets, targets, jnp.where(finite, tokens, 0))
        scores = None
        if weights is not None and variant == Variant.LOGPROBS:
            scores = self._logprobs(raw, processed, weights, rows, tokens, use_targets)
        return Sampled(tokens, finite, empty, scores)

    def _apply_stages(self, logits: Float32[Array, "n v"], rows: SamplerRows, ctx: StageContext) -> Array:
        for stage, state in zip(self.stages, rows.stages, strict=True):
            logits = stage.apply(logits, state, ctx)
        processed: Array = jax.lax.optimization_barrier(logits)
        return processed

    def _logprobs(
        self,
        raw: Float32[Array, "n v"],
        processed: Float32[Array, "n v"],
        weights: Float32[Array, "n v"],
        rows: SamplerRows,
        tokens: Int32[Array, " n"],
        use_targets: Bool[Array, " n"],
    ) -> SampledLogprobs:
        logits = raw
        if self.logprobs_mode.startswith("processed"):
            scaled = jnp.where(weights > 0, processed / _divisor(rows)[:, None], -jnp.inf)
            logits = jnp.where(use_targets[:, None], raw, scaled)
        logits = jax.lax.optimization_barrier(logits)
        normaliser = log_normaliser(logits)
        if self.logprobs_mode.endswith("logits"):
            normaliser = jnp.zeros_like(normaliser)
        num_top = self.vocab_size if self.max_logprobs == -1 else min(self.max_logprobs, self.vocab_size)
        return sampled_logprobs(logits, normaliser, tokens, num_top, rows.named, ~use_targets)


def _encode(stage: LogitStage, params: Sequence[SamplingParams], eos_token_ids: Sequence[Sequence[int]]) -> Any:
    """The state of a stage for n rows, each leaf [n, ...]."""
    wanted = [stage.wanted(one) for one in params]
    if not any(wanted):
        return _neutral_rows(stage, len(params))
    neutral = jax.tree.map(lambda leaf: leaf[0], _neutral_rows(stage, 1))
    rows = [
        stage.encode(one, ending) if asked else neutral
        for one, ending, asked in zip(params, eos_token_ids, wanted, strict=True)
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


@cache
def _neutral_rows(stage: LogitStage, count: int) -> Any:
    """Rows of a stage that do nothing, in numpy. Kept, because most admitted requests want no stage."""
    shapes = jax.eval_shape(lambda: stage.init(count))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def _divisor(rows: SamplerRows) -> Float32[Array, " n"]:
    return jnp.where(rows.temperature == 0, 1, rows.temperature)


def _weights(logits: Float32[Array, "n v"], largest: Float32[Array, " n"], rows: SamplerRows) -> Array:
    """Probabilities relative to the best token's, 0 for tokens left out. Not for rows without a finite logit."""
    distance = jnp.where(jnp.isfinite(largest), largest, 0)[:, None]
    scaled = jax.lax.optimization_barrier((logits - distance) / _divisor(rows)[:, None])
    weights = jax.lax.optimization_barrier(jnp.exp(scaled))
    limits = Limits(rows.top_k, rows.top_p, rows.min_p)
    used = jnp.any(limits.any())
    kept: Array = jax.lax.cond(used, truncate, lambda logits, weights, limits: weights, logits, weights, limits)
    return kept
