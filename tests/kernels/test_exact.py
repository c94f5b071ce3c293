"""The arithmetic of the XLA path: on a CPU a row's bits do not depend on how many rows there are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pallas_kernels.paged_attention.xla.exact import MIN_ROWS, dot_nt, dot_values, row_sums

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="a promise on a CPU only")

MOST_ROWS = 192
ROWS = (MIN_ROWS, 3, 8, 12, 24, 31, 48)
HEADS = 3


def rows(width, dtype="float32"):
    values = np.random.default_rng(width).standard_normal((HEADS, MOST_ROWS, width))
    return jnp.asarray(values, dtype)


def differing(operation, x, *shared):
    """The numbers of rows at which a row's result differs from the one among MOST_ROWS."""
    run = jax.jit(operation)
    expected = np.asarray(run(x, *shared))
    return [count for count in ROWS if not np.array_equal(run(x[:, :count], *shared), expected[:, :count])]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("keys", [16, 128, 256])
def test_sums_of_rows(keys, dtype):
    assert differing(row_sums, jnp.abs(rows(keys, dtype))) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("head_dim", [16, 64])
def test_scores(head_dim, dtype):
    assert differing(dot_nt, rows(head_dim, dtype), rows(head_dim, dtype)[:, :128]) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("head_dim", [16, 64])
def test_weighted_values(head_dim, dtype):
    assert differing(dot_values, jnp.abs(rows(128, dtype)), rows(head_dim, dtype)[:, :128]) == []
