"""What the sampler computes from a row has the same bits however many rows there are (>= 2), on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.sampling.inverse_cdf import draw
from jaxpaged.sampling.logprobs import log_normaliser
from jaxpaged.sampling.reductions import prefix_sum, row_log, row_sum
from jaxpaged.sampling.thresholds import keep_by_bisection

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="a promise on a CPU only")

MOST_ROWS = 64
COUNTS = (2, 3, 8, 16, 31)
VOCABULARIES = (131, 353, 4096)


def assert_independent(operation: Callable[..., Any], *rows: jax.Array) -> None:
    """The results of rows at two places, among MOST_ROWS and among fewer."""
    run = jax.jit(operation)
    expected = np.asarray(run(*rows))
    for count in COUNTS:
        for start in (0, 5):
            part = slice(start, start + count)
            result = np.asarray(run(*(x[part] for x in rows)))
            np.testing.assert_array_equal(result, expected[part], err_msg=f"{count} rows from {start}")


def logits(vocab: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(vocab).normal(0, 3, (MOST_ROWS, vocab)), jnp.float32)


def uniforms() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).random(MOST_ROWS), jnp.float32)


@pytest.mark.parametrize("vocab", VOCABULARIES)
def test_sums(vocab: int) -> None:
    assert_independent(row_sum, jnp.exp(logits(vocab)))


@pytest.mark.parametrize("width", [64, 128])
def test_running_sums(width: int) -> None:
    assert_independent(prefix_sum, jnp.exp(logits(width)))


def test_logarithms() -> None:
    assert_independent(row_log, jnp.exp(logits(131)[:, 0]))


@pytest.mark.parametrize("vocab", VOCABULARIES)
def test_normalisers_of_log_probabilities(vocab: int) -> None:
    assert_independent(log_normaliser, logits(vocab))


@pytest.mark.parametrize("vocab", VOCABULARIES)
def test_draws(vocab: int) -> None:
    assert_independent(draw, jnp.exp(logits(vocab)), uniforms())


def test_what_is_kept() -> None:
    """Rows without a limit, with top-k, top-p and min-p in turn."""
    kinds = jnp.arange(MOST_ROWS, dtype=jnp.int32) % 4
    top_k = jnp.where(kinds == 1, 20, 0).astype(jnp.int32)
    top_p = jnp.where(kinds == 2, 0.9, 1.0).astype(jnp.float32)
    min_p = jnp.where(kinds == 3, 0.05, 0.0).astype(jnp.float32)
    x = logits(353)
    weights = jnp.exp(x - jnp.max(x, axis=1, keepdims=True))
    assert_independent(keep_by_bisection, x, weights, top_k, top_p, min_p)
