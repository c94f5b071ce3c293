"""Each logit stage against the obvious loop over one row."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.sampling.sampler import Sampler
from jaxpaged.sampling.stages import BUILTIN_STAGES, AllowedTokens, BadWords, LogitBias, MinTokens, Penalties
from jaxpaged.sampling.stages.stage import LogitStage
from jaxpaged.sampling_params import SamplingParams
from tests.sampling.harness import context

VOCAB, PADDED = 50, 56
OFF = SamplingParams()


def logits(rows: int) -> np.ndarray:
    x = np.random.default_rng(rows).normal(size=(rows, PADDED)).astype(np.float32) * 3
    x[:, VOCAB:] = -np.inf
    return x


def apply(stage: LogitStage, x: np.ndarray, requests, histories, prompt_lens, eos=(), capacity=40) -> np.ndarray:
    """Through the sampler's own encoding, so that a row that does not want the stage is zeros."""
    sampler = Sampler(VOCAB, stages=(stage,))
    encoded = [sampler.encode_row(p, n, 0, eos).stages[0] for p, n in zip(requests, prompt_lens, strict=True)]
    state = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *encoded)
    return np.asarray(jax.jit(stage.apply)(jnp.asarray(x), state, context(histories, prompt_lens, capacity)))


def test_allowed_tokens() -> None:
    x = logits(3)
    found = apply(AllowedTokens(), x, [OFF, SamplingParams(allowed_token_ids=[0, 7]), OFF], [[1]] * 3, [1] * 3)
    wanted = x.copy()
    wanted[1] = -np.inf
    wanted[1, [0, 7]] = x[1, [0, 7]]
    np.testing.assert_array_equal(found, wanted)


def test_logit_bias() -> None:
    x = logits(3)
    found = apply(LogitBias(), x, [SamplingParams(logit_bias={0: 5.0, 49: -100.0}), OFF, OFF], [[1]] * 3, [1] * 3)
    wanted = x.copy()
    wanted[0, 0] += np.float32(5)
    wanted[0, 49] += np.float32(-100)
    np.testing.assert_array_equal(found, wanted)


def test_min_tokens_holds_back_stop_and_end_tokens_until_enough_are_generated() -> None:
    x = logits(4)
    params = SamplingParams(min_tokens=2, stop_token_ids=[4, 5], ignore_eos=True)
    histories = [[1, 2], [1, 2, 9], [1, 2, 9, 9], [1, 2]]
    found = apply(MinTokens(), x, [params, params, params, OFF], histories, [2] * 4, eos=[0])
    wanted = x.copy()
    wanted[:2, [0, 4, 5]] = -np.inf
    np.testing.assert_array_equal(found, wanted)


BAD = SamplingParams(_bad_words_token_ids=[[7], [3, 4], [3, 4, 5], [8, 8, 8, 9]])


@pytest.mark.parametrize(
    ("prompt", "generated", "forbidden"),
    [
        ([1], [], [7]),
        ([1], [3], [7, 4]),
        ([1], [3, 4], [7, 5]),
        ([3], [], [7]),  # the prompt does not count
        ([3], [4], [7]),
        ([1], [8, 8, 8], [7, 9]),
        ([1, 8], [8, 8], [7]),
        ([1], [2, 8, 8, 8], [7, 9]),
        ([1], [8, 8, 8, 2], [7]),
        ([1], [4, 3], [7, 4]),
    ],
)
def test_bad_words(prompt: list[int], generated: list[int], forbidden: list[int]) -> None:
    x = logits(2)
    history = [*prompt, *generated]
    found = apply(BadWords(), x, [OFF, BAD], [history, history], [len(prompt)] * 2)
    wanted = x.copy()
    wanted[1, forbidden] = -np.inf
    np.testing.assert_array_equal(found, wanted)


def penalised(x: np.ndarray, params: SamplingParams, history: list[int], prompt_len: int) -> np.ndarray:
    x = x.copy()
    for token in set(history):
        count = history[prompt_len:].count(token)
        repetition = np.float32(params.repetition_penalty)
        x[token] = x[token] / repetition if x[token] > 0 else x[token] * repetition
        x[token] -= np.float32(params.frequency_penalty) * np.float32(count)
        x[token] -= np.float32(params.presence_penalty) * np.float32(count > 0)
    return x


@pytest.mark.parametrize("length", [1, 37, 1300])
def test_penalties(length: int) -> None:
    rng = np.random.default_rng(length)
    requests = [
        OFF,
        SamplingParams(presence_penalty=1.5),
        SamplingParams(frequency_penalty=-0.7),
        SamplingParams(repetition_penalty=1.3),
        SamplingParams(repetition_penalty=0.8, presence_penalty=-2.0, frequency_penalty=2.0),
    ]
    prompt_lens = [1, max(1, length // 2), length, max(1, length // 3), 1]
    histories = [rng.integers(0, VOCAB, length).tolist() for _ in requests]
    x = logits(len(requests))
    found = apply(Penalties(), x, requests, histories, prompt_lens, capacity=1400)
    wanted = [penalised(*row) for row in zip(x, requests, histories, prompt_lens, strict=True)]
    np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(found[0], x[0])


@pytest.mark.parametrize("repetition", [1e38, 1e-300])
def test_an_extreme_repetition_penalty_leaves_finite_logits(repetition: float) -> None:
    x = logits(1)
    found = apply(Penalties(), x, [SamplingParams(repetition_penalty=repetition)], [list(range(20))], [10])
    assert np.isfinite(found[:, :VOCAB]).all()
    assert (found[:, VOCAB:] == -np.inf).all()


@pytest.mark.parametrize("stage", BUILTIN_STAGES, ids=lambda stage: stage.name)
def test_an_unused_stage_changes_nothing_and_zeros_mean_off(stage: LogitStage) -> None:
    x = logits(2)
    np.testing.assert_array_equal(apply(stage, x, [OFF, OFF], [[1, 2]] * 2, [1, 1]), x)
    state = stage.init(2)
    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(state))
    np.testing.assert_array_equal(np.asarray(stage.apply(jnp.asarray(x), state, context([[1, 2]] * 2, [1, 1]))), x)


def test_the_order_of_the_stages_is_vllms() -> None:
    names = [stage.name for stage in BUILTIN_STAGES]
    assert names == ["allowed_token_ids", "bad_words", "min_tokens", "logit_bias", "penalties"]
