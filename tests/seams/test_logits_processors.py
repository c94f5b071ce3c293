"""Logit stages: EngineConfig.logits_processors adds to the built-in ones, with device state of its own per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from jaxpaged.sampling.stages.stage import StageContext
from jaxpaged.sampling.variant import Variant
from jaxpaged.sampling_params import SamplingParams
from tests.engine import tiny
from tests.engine.dense import Oracle
from tests.engine.drive import ask, run
from tests.engine.tiny import VOCAB


@dataclass(frozen=True)
class NoRepeats:
    """Forbids the last so many tokens to a request that asks for it in extra_args."""

    name: str = "no_repeats"

    def init(self, rows: int) -> Int32[Array, " n"]:
        return jnp.zeros(rows, jnp.int32)

    def wanted(self, params: SamplingParams) -> bool:
        return "no_repeats" in (params.extra_args or {})

    def encode(self, params: SamplingParams, eos_token_ids: Sequence[int]) -> np.ndarray:
        return np.int32((params.extra_args or {}).get("no_repeats", 0))

    def apply(
        self, logits: Float32[Array, "n v"], state: Int32[Array, " n"], ctx: StageContext
    ) -> Float32[Array, "n v"]:
        place = jnp.arange(ctx.history.shape[1], dtype=jnp.int32)[None, :]
        recent = (place < ctx.length[:, None]) & (place >= (ctx.length - state)[:, None])
        row = jax.lax.broadcasted_iota(jnp.int32, ctx.history.shape, 0)
        return logits.at[row, jnp.where(recent, ctx.history, logits.shape[1])].set(-jnp.inf, mode="drop")


def test_a_stage_of_ones_own(llama: Path, oracle: Oracle) -> None:
    engine = tiny.build(
        llama,
        (Variant.GREEDY, Variant.PLAIN, Variant.FULL),
        logits_processors=[NoRepeats()],
        max_num_batched_tokens=8,
    )
    prompt = [5] * 12
    wanted = {"temperature": 1.0, "extra_args": {"no_repeats": 100}, "seed": 1}
    answers = run(
        engine,
        [
            ask("staged", prompt, max_tokens=40, **wanted),
            ask("staged too", prompt[:1], max_tokens=40, **wanted),
            ask("plain", prompt, max_tokens=40),
        ],
    )
    assert len(set(answers["staged"].tokens) - {5}) == 40
    assert len(set(answers["staged too"].tokens) - {5}) == 40
    assert len(set(answers["plain"].tokens)) < 40
    oracle.assert_greedy(prompt, answers["plain"].tokens)
    assert max(answers["staged"].tokens) < VOCAB
