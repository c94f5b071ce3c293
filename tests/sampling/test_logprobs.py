"""Log probabilities and logits, raw and processed, of sampled tokens and of a prompt's."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpaged.sampling.sampler import Sampler
from jaxpaged.sampling.stages import LogitBias
from jaxpaged.sampling.variant import Variant
from jaxpaged.sampling_params import SamplingParams
from tests.sampling.harness import kept_by_sorting, log_softmax, sample

VOCAB, PADDED = 3001, 3008


def logits(rows: int) -> np.ndarray:
    x = np.random.default_rng(rows).normal(size=(rows, PADDED)).astype(np.float32) * 2
    x[:, VOCAB:] = -np.inf
    return x


def score(x: np.ndarray, requests: list[SamplingParams], mode: str = "raw_logprobs", most: int = 20, **more):
    return sample(x, requests, variant=Variant.LOGPROBS, sampler=Sampler(VOCAB, most, mode, (LogitBias(),)), **more)


@pytest.mark.parametrize("mode", ["raw_logprobs", "raw_logits"])
def test_raw_scores_do_not_know_the_request(mode: str) -> None:
    x = logits(4)
    requests = [SamplingParams(seed=s, temperature=0.4, top_k=3, logit_bias={1: 50.0}) for s in range(4)]
    found = score(x, requests, mode)
    assert (found.tokens == 1).all()
    wanted = log_softmax(x) if mode == "raw_logprobs" else x
    check(found, wanted)


@pytest.mark.parametrize("mode", ["processed_logprobs", "processed_logits"])
def test_processed_scores_are_what_was_drawn_from(mode: str) -> None:
    x = logits(4)
    requests = [
        SamplingParams(seed=1, temperature=0.5),
        SamplingParams(seed=2, top_k=3),
        SamplingParams(temperature=0, logit_bias={7: 3.0}),
        SamplingParams(seed=3, top_p=0.5, temperature=1.5),
    ]
    wanted = []
    for row, params in zip(x.copy(), requests, strict=True):
        for token, bias in (params.logit_bias or {}).items():
            row[token] += bias
        kept = np.ones(PADDED, bool) if params.greedy else kept_by_sorting(row, params)
        wanted.append(np.where(kept, row / (params.temperature or 1.0), -np.inf))
    wanted = np.stack(wanted)
    check(score(x, requests, mode), log_softmax(wanted) if mode == "processed_logprobs" else wanted)


def check(found, wanted: np.ndarray, top: int = 20) -> None:
    scores = found.logprobs
    rows = np.arange(len(wanted))
    np.testing.assert_array_equal(scores.token_ids, found.tokens)
    np.testing.assert_allclose(scores.logprobs, wanted[rows, found.tokens], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(scores.ranks, (wanted >= wanted[rows, found.tokens][:, None]).sum(axis=1))
    order = np.argsort(-wanted, axis=1, kind="stable")[:, :top]
    np.testing.assert_allclose(scores.top_logprobs[:, :top], np.take_along_axis(wanted, order, 1), rtol=1e-5, atol=1e-5)
    for row in rows:
        finite = np.isfinite(scores.top_logprobs[row, :top])
        np.testing.assert_array_equal(scores.top_ids[row, :top][finite], order[row][finite])


def test_rank_counts_the_tokens_that_are_at_least_as_likely() -> None:
    """As in vLLM, so tokens that tie share the lower rank."""
    x = np.zeros((4, PADDED), np.float32)
    x[:, 4] = 1.0
    x[:, VOCAB:] = -np.inf
    found = score(x, [SamplingParams(temperature=0)] * 4, targets=[6, 0, 4, 0], use_targets=[True, False, True, False])
    assert found.tokens.tolist() == [6, 4, 4, 4]
    assert found.logprobs.ranks.tolist() == [VOCAB, 1, 1, 1]


def test_prompt_positions_are_scored_raw_and_not_sampled() -> None:
    x = logits(4)
    requests = [SamplingParams(seed=1, temperature=0.5, top_k=2, prompt_logprobs=3)] * 4
    found = score(x, requests, "processed_logprobs", targets=[9, 8, 7, 6], use_targets=[True, False, True, False])
    assert found.tokens[[0, 2]].tolist() == [9, 7]
    wanted = log_softmax(x)
    np.testing.assert_allclose(found.logprobs.logprobs[[0, 2]], wanted[[0, 2], [9, 7]], rtol=1e-5)
    assert found.logprobs.logprobs[1] > wanted[1, found.tokens[1]]


def test_named_ids_take_the_place_of_the_best() -> None:
    x = logits(4)
    named = [2999, 0, 17]
    found = score(x, [SamplingParams(seed=1, logprob_token_ids=named), *[SamplingParams(seed=1, logprobs=3)] * 3])
    wanted = log_softmax(x)
    assert found.logprobs.top_ids[0, :3].tolist() == named
    np.testing.assert_allclose(found.logprobs.top_logprobs[0, :3], wanted[0, named], rtol=1e-5)
    assert found.logprobs.top_ids[1, :3].tolist() == np.argsort(-wanted[1])[:3].tolist()


def test_the_whole_vocabulary_when_asked() -> None:
    x = logits(2)
    found = score(x, [SamplingParams(seed=1, logprobs=-1)] * 2, most=-1)
    assert found.logprobs.top_ids.shape == (2, VOCAB)
    np.testing.assert_array_equal(np.sort(found.logprobs.top_ids, axis=1), np.tile(np.arange(VOCAB), (2, 1)))
    check(found, log_softmax(x), top=VOCAB)


def test_only_the_sampled_token_when_no_best_are_kept() -> None:
    x = logits(2)
    found = score(x, [SamplingParams(seed=1, logprobs=0)] * 2, most=0)
    wanted = log_softmax(x)
    np.testing.assert_allclose(found.logprobs.logprobs, wanted[[0, 1], found.tokens], rtol=1e-5)
