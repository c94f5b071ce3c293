"""The whole sampler: which tokens, how often, and that a row depends on nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.sampling.inverse_cdf import draw
from jaxpaged.sampling.random import seed_words, uniforms
from jaxpaged.sampling.sampler import Sampler
from jaxpaged.sampling.stages import LogitBias
from jaxpaged.sampling.stages.stage import StageContext
from jaxpaged.sampling.variant import Variant
from jaxpaged.sampling_params import SamplingParams
from tests.sampling.harness import kept_by_sorting, log_softmax, sample

CHI_SQUARE_999 = {5: 20.5, 9: 27.9, 19: 43.8}  # the 99.9 % point by degrees of freedom


def random_logits(rows: int, vocab: int, seed: int = 0, spread: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, vocab)).astype(np.float32) * np.float32(spread)


def test_greedy_takes_the_first_of_the_best() -> None:
    x = random_logits(5, 1000)
    x[2, [900, 17, 300]] = 50.0
    x[3, 999] = 50.0
    x[4] = 0.0
    found = sample(x, [SamplingParams(temperature=0)] * 5, variant=Variant.GREEDY)
    np.testing.assert_array_equal(found.tokens, x.argmax(axis=1))
    assert found.finite.all()
    assert found.logprobs is None


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=0.5),
        SamplingParams(temperature=2.0),
        SamplingParams(top_p=0.7),
        SamplingParams(top_k=6),
        SamplingParams(min_p=0.2),
        SamplingParams(temperature=1.5, top_p=0.9, top_k=15, min_p=0.02),
    ],
    ids=repr,
)
def test_tokens_come_as_often_as_they_should(params: SamplingParams) -> None:
    rows, vocab = 4096, 20
    row = random_logits(1, vocab, seed=3, spread=1.0)[0]
    requests = [SamplingParams(**{**_fields(params), "seed": seed}) for seed in range(rows)]
    tokens = sample(np.tile(row, (rows, 1)), requests, variant=Variant.PLAIN).tokens
    kept = kept_by_sorting(row, params)
    weights = np.where(kept, np.exp(log_softmax(row) / params.temperature), 0)
    expected = rows * weights / weights.sum()
    observed = np.bincount(tokens, minlength=vocab)
    assert observed[~kept].sum() == 0
    chi_square = ((observed[kept] - expected[kept]) ** 2 / expected[kept]).sum()
    freedom = max(int(kept.sum()) - 1, 1)
    assert chi_square < freedom + 4.5 * np.sqrt(2 * freedom)


def _fields(params: SamplingParams) -> dict[str, Any]:
    return {name: getattr(params, name) for name in ("temperature", "top_p", "top_k", "min_p")}


def test_one_seed_draws_a_fair_sequence() -> None:
    """Positions of one request are independent draws too."""
    positions = jnp.arange(8192, dtype=jnp.int32)
    seeds = jnp.tile(jnp.asarray(seed_words(1234))[None], (8192, 1))
    u = np.asarray(uniforms(seeds, positions))
    observed = np.histogram(u, bins=20, range=(0, 1))[0]
    assert ((observed - 8192 / 20) ** 2 / (8192 / 20)).sum() < CHI_SQUARE_999[19]
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.05


def test_seeds_are_64_bits_wide() -> None:
    seeds = [0, 1, 2**32, 2**63 - 1, -1, -(2**63), -2]
    words = jnp.stack([jnp.asarray(seed_words(seed)) for seed in seeds])
    assert len(set(np.asarray(uniforms(words, jnp.zeros(len(seeds), jnp.int32))).tolist())) == len(seeds)


def test_draw_walks_the_columns() -> None:
    """Against the plain running sum in float64, in the documented order of tokens."""
    rng = np.random.default_rng(0)
    weights = rng.random((300, 1000)).astype(np.float32) * (rng.random((300, 1000)) < 0.3)
    u = rng.random(300).astype(np.float32)
    order = np.argsort(np.arange(1000) % 128, kind="stable")
    running = np.cumsum(weights.astype(np.float64)[:, order], axis=1)
    target = u.astype(np.float64) * running[:, -1]
    wanted = order[(running <= target[:, None]).sum(axis=1)]
    found = np.asarray(jax.jit(draw)(jnp.asarray(weights), jnp.asarray(u)))
    # Half a dozen rows in 300 may lie within rounding of a border.
    assert (found != wanted).sum() <= 2
    assert (np.take_along_axis(weights, found[:, None], 1) > 0).all()


@pytest.mark.parametrize("u", [0.0, 1 - 2**-24, 1.0])
def test_the_ends_of_the_uniform_draw_a_possible_token(u: float) -> None:
    rng = np.random.default_rng(1)
    weights = rng.random((200, 700)).astype(np.float32) * (rng.random((200, 700)) < 0.01)
    weights[:, 400] = 1e-30
    found = np.asarray(jax.jit(draw)(jnp.asarray(weights), jnp.full(200, u, jnp.float32)))
    assert (np.take_along_axis(weights, found[:, None], 1) > 0).all()


MIXED = [
    SamplingParams(temperature=0),
    SamplingParams(seed=1),
    SamplingParams(seed=2, temperature=0.3, top_k=5),
    SamplingParams(seed=3, top_k=100, top_p=0.9),
    SamplingParams(seed=4, top_p=0.999, temperature=1.7),
    SamplingParams(seed=5, min_p=0.1),
    SamplingParams(seed=6, presence_penalty=1.0, frequency_penalty=0.7, repetition_penalty=1.3),
    SamplingParams(seed=7, logit_bias={5: 4.0, 6: -3.0}, allowed_token_ids=list(range(40))),
    SamplingParams(seed=8, _bad_words_token_ids=[[3], [1, 5]], min_tokens=3, stop_token_ids=[9]),
]


@dataclass(frozen=True)
class Batch:
    """Random rows, each with its own request and history."""

    logits: np.ndarray
    requests: Sequence[SamplingParams]
    histories: Sequence[list[int]]
    prompt_lens: Sequence[int]

    @classmethod
    def random(cls, rows: int, vocab: int, padded: int) -> Batch:
        rng = np.random.default_rng(vocab)
        x = random_logits(rows, padded, seed=vocab)
        x[:, vocab:] = -np.inf
        lengths = rng.integers(2, 38, rows)
        histories = [rng.integers(0, vocab, length).tolist() for length in lengths]
        requests = [MIXED[row % len(MIXED)] for row in range(rows)]
        return cls(x, requests, histories, [int(rng.integers(1, length)) for length in lengths])

    def part(self, rows: slice) -> Batch:
        return Batch(self.logits[rows], self.requests[rows], self.histories[rows], self.prompt_lens[rows])

    def sample(self, sampler: Sampler, variant: Variant) -> Any:
        return sample(
            self.logits, self.requests, histories=self.histories, prompt_lens=self.prompt_lens, sampler=sampler,
            variant=variant, eos_token_ids=[2],
        )  # fmt: skip


@pytest.mark.parametrize(("vocab", "padded", "size"), [(500, 512, 1), (500, 512, 8), (50, 50, 3), (9001, 9008, 1)])
def test_a_row_does_not_depend_on_its_batch(vocab: int, padded: int, size: int) -> None:
    """Tokens, log probabilities, ranks: bit for bit, alone and among 64."""
    sampler = Sampler(vocab, max_logprobs=5)
    batch = Batch.random(64, vocab, padded)
    together = batch.sample(sampler, Variant.LOGPROBS)
    for start in range(0, 2 * len(MIXED), size):
        alone = batch.part(slice(start, start + size)).sample(sampler, Variant.LOGPROBS)
        for ours, theirs in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_array_equal(ours, theirs[start : start + size])


def test_larger_variants_give_the_same_tokens() -> None:
    sampler = Sampler(500, max_logprobs=5)
    batch = Batch.random(64, 500, 512)
    full = batch.sample(sampler, Variant.FULL)
    np.testing.assert_array_equal(batch.sample(sampler, Variant.LOGPROBS).tokens, full.tokens)
    needs = np.array([sampler.variant(params) for params in batch.requests])
    plain = batch.sample(sampler, Variant.PLAIN).tokens
    np.testing.assert_array_equal(plain[needs <= Variant.PLAIN], full.tokens[needs <= Variant.PLAIN])
    greedy = batch.sample(sampler, Variant.GREEDY).tokens
    np.testing.assert_array_equal(greedy[needs == Variant.GREEDY], full.tokens[needs == Variant.GREEDY])
    assert (plain[needs == Variant.FULL] != full.tokens[needs == Variant.FULL]).any()


def test_the_variant_is_the_smallest_that_serves() -> None:
    sampler = Sampler(100)
    assert [sampler.variant(params) for params in MIXED] == [0, 1, 1, 1, 1, 1, 2, 2, 2]
    for scored in ({"logprobs": 0}, {"prompt_logprobs": 0}, {"logprob_token_ids": [1]}):
        assert sampler.variant(SamplingParams(**scored)) == Variant.LOGPROBS


def test_padding_is_never_sampled() -> None:
    rows, vocab, padded = 2048, 3, 128
    x = np.full((rows, padded), -np.inf, np.float32)
    x[:, :vocab] = 0.0
    for params in ({}, {"temperature": 2.0}, {"top_k": 50}, {"top_k": 100}, {"top_p": 0.9999}, {"min_p": 1e-30}):
        requests = [SamplingParams(**params, seed=seed) for seed in range(rows)]
        found = sample(x, requests, variant=Variant.PLAIN, sampler=Sampler(vocab))
        assert found.finite.all()
        assert set(found.tokens.tolist()) == {0, 1, 2}


SICK = [
    SamplingParams(temperature=t, seed=1, top_p=0.9, logprobs=0) for t in (0.9, 0, 1, 0.5, 1, 0, 1)
]  # one request per row of sick_logits


def sick_logits() -> np.ndarray:
    x = random_logits(7, 300)
    x[1, 5] = np.nan
    x[2] = -np.inf
    x[3, 299] = np.inf
    x[4, 10:] = -np.inf
    x[5] = np.nan
    return x


@pytest.mark.parametrize("variant", [Variant.GREEDY, Variant.LOGPROBS])
def test_only_the_sick_rows_are_reported(variant: Variant) -> None:
    found = sample(sick_logits(), SICK, variant=variant)
    assert found.finite.tolist() == [True, False, False, False, True, False, True]
    assert found.empty.tolist() == [False, False, True, False, False, False, False]
    assert (found.tokens[[1, 2, 3, 5]] == 0).all()
    well = sick_logits()
    well[[1, 2, 3, 5]] = 1.0
    in_good_company = sample(well, SICK, variant=variant)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(in_good_company), strict=True):
        np.testing.assert_array_equal(ours[[0, 4, 6]], theirs[[0, 4, 6]])


def test_a_request_that_forbids_everything_is_reported() -> None:
    requests = [SamplingParams(allowed_token_ids=[3], _bad_words_token_ids=[[3]]), *[SamplingParams(seed=0)] * 6]
    found = sample(random_logits(7, 300), requests, variant=Variant.LOGPROBS)
    assert found.finite.tolist() == [False, *[True] * 6]
    assert found.empty.tolist() == [True, *[False] * 6]


@dataclass(frozen=True)
class OnlyEven:
    """A user's stage: rows with a seed generate even tokens only."""

    name: str = "only_even"

    def init(self, rows: int) -> jax.Array:
        return jnp.zeros(rows, bool)

    def wanted(self, params: SamplingParams) -> bool:
        return params.seed is not None

    def encode(self, params: SamplingParams, eos_token_ids: Sequence[int]) -> np.ndarray:
        return np.bool_(True)

    def apply(self, logits: jax.Array, state: jax.Array, ctx: StageContext) -> jax.Array:
        odd = jnp.arange(logits.shape[1], dtype=jnp.int32) % 2 == 1
        return jnp.where(state[:, None] & odd[None, :], -jnp.inf, logits)


def test_a_users_stage_joins_the_others() -> None:
    x = np.zeros((200, 10), np.float32)
    x[:, 7] = 1.0
    sampler = Sampler(10, stages=(LogitBias(), OnlyEven()))
    seeded = [SamplingParams(seed=seed) for seed in range(199)]
    assert sampler.variant(seeded[0]) == Variant.FULL
    tokens = sample(x, [*seeded, SamplingParams(temperature=0)], sampler=sampler).tokens
    assert (tokens[:-1] % 2 == 0).all()
    assert tokens[-1] == 7
