"""Top-k, top-p and min-p keep exactly what a stable descending sort keeps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpaged.sampling.thresholds import keep_by_bisection
from jaxpaged.sampling.top_k import top_k
from jaxpaged.sampling.truncate import Limits, truncate
from jaxpaged.sampling_params import SamplingParams
from tests.sampling.harness import kept_by_sorting

ROWS = 16
_fast = jax.jit(truncate)
_by_bisection = jax.jit(lambda logits, weights, limits: keep_by_bisection(logits, weights, *limits))


def kept(x: np.ndarray, requests: list[SamplingParams]) -> np.ndarray:
    """Which tokens stay; the search by bisection alone must agree. Always ROWS rows, so that little is compiled."""
    asked, missing = len(x), ROWS - len(x)
    x = np.pad(x, ((0, missing), (0, 0)), mode="edge")
    requests = [*requests, *[SamplingParams()] * missing]
    temperature = np.array([p.temperature for p in requests], np.float32)[:, None]
    weights = np.exp((x - x.max(axis=1, keepdims=True)) / temperature)
    limits = Limits(
        np.array([max(p.top_k, 0) for p in requests], np.int32),
        np.maximum(np.array([p.top_p for p in requests], np.float32), np.finfo(np.float32).tiny),
        np.array([p.min_p for p in requests], np.float32),
    )
    found = np.asarray(_fast(x, weights, limits))
    np.testing.assert_array_equal(_by_bisection(x, weights, limits), found)
    np.testing.assert_array_equal(found[found > 0], weights[found > 0])
    return (found > 0)[:asked]


def check(x: np.ndarray, requests: list[SamplingParams]) -> None:
    found = kept(x, requests)
    wanted = np.stack([kept_by_sorting(*row) for row in zip(x, requests, strict=True)])
    for row in range(len(x)):
        np.testing.assert_array_equal(
            np.flatnonzero(found[row]), np.flatnonzero(wanted[row]), err_msg=str(requests[row])
        )


REQUESTS = [
    SamplingParams(),
    SamplingParams(top_k=1),
    SamplingParams(top_k=5),
    SamplingParams(top_k=64),
    SamplingParams(top_k=65),
    SamplingParams(top_k=700),
    SamplingParams(top_k=10**6),
    SamplingParams(top_p=0.1),
    SamplingParams(top_p=0.9),
    SamplingParams(top_p=0.999),
    SamplingParams(top_p=1e-300),
    SamplingParams(min_p=0.05),
    SamplingParams(min_p=1.0),
    SamplingParams(top_k=100, top_p=0.8),
    SamplingParams(top_k=20, top_p=0.8, min_p=0.1, temperature=0.5),
    SamplingParams(top_p=0.95, temperature=2.0),
]


@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("vocab", [60, 3001])
def test_like_sorting(vocab: int, spread: float) -> None:
    x = np.random.default_rng(vocab).normal(size=(len(REQUESTS), vocab)).astype(np.float32) * np.float32(spread)
    check(x, REQUESTS)


@pytest.mark.parametrize("step", [1.0, 4.0])
@pytest.mark.parametrize("vocab", [60, 3001])
def test_like_sorting_with_ties(vocab: int, step: float) -> None:
    """Logits are multiples of log(2) so that sums of probabilities are exact and every cut falls among equals."""
    rng = np.random.default_rng(vocab)
    x = (rng.integers(-6, 1, (len(REQUESTS), vocab)) * np.float32(np.log(2.0) * step)).astype(np.float32)
    ks = [SamplingParams(top_k=k) for k in (1, 2, 3, 50, 64, 65, 100, 500)]
    check(x[: len(ks)], ks)


@pytest.mark.parametrize(("top_p", "count"), [(0.5, 1500), (0.25, 750), (0.0003, 1), (1e-9, 1), (0.9999, 3000)])
def test_equal_tokens_are_cut_by_index(top_p: float, count: int) -> None:
    x = np.zeros((2, 3001), np.float32)
    x[:, 3000] = -np.inf
    found = kept(x, [SamplingParams(top_p=top_p), SamplingParams()])
    assert np.flatnonzero(found[0]).tolist() == list(range(count))
    assert found[1, :3000].all()


def test_forbidden_tokens_are_never_kept() -> None:
    x = np.full((3, 3001), -np.inf, np.float32)
    x[:, 3] = 1.0
    found = kept(x, [SamplingParams(top_k=50), SamplingParams(top_k=100), SamplingParams(top_p=0.99)])
    assert found.sum(axis=1).tolist() == [1, 1, 1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.floats(0.01, 0.99), st.floats(0, 0.5), st.floats(0.1, 6))
def test_random_rows(seed: int, k: int, p: float, min_p: float, spread: float) -> None:
    x = np.random.default_rng(seed).normal(size=(4, 60)).astype(np.float32) * np.float32(spread)
    requests = [
        SamplingParams(top_k=k),
        SamplingParams(top_p=p),
        SamplingParams(min_p=min_p),
        SamplingParams(top_k=k, top_p=p, min_p=min_p),
    ]
    check(x, requests)


@pytest.mark.parametrize(("vocab", "k"), [(50, 50), (5000, 1), (5000, 64), (5001, 7)])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_top_k_is_a_stable_sort(vocab: int, k: int, levels: int) -> None:
    x = np.random.default_rng(k).integers(0, levels, (9, vocab)).astype(np.float32)
    best = jax.jit(top_k, static_argnums=1)(jnp.asarray(x), k)
    order = np.argsort(-x, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(best.indices, order)
    np.testing.assert_array_equal(best.values, np.take_along_axis(x, order, 1))
