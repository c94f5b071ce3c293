"""Activations, rotations and int8 rows: on a CPU a row's bits do not depend on how many rows there are (>= 2).

Products and norms: tests/engine/test_row_independence.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.layers.mlp import ACTIVATIONS
from jaxpaged.layers.rope import rotate, rotation
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import Activation
from jaxpaged.quant.int8 import quantize_rows

pytestmark = [
    pytest.mark.skipif(jax.default_backend() != "cpu", reason="a promise on a CPU only"),
    pytest.mark.slow,
]

MOST_ROWS = 96
COUNTS = (2, 3, 8, 17, 31, 64)


def assert_independent(operation: Callable[..., Any], *rows: jax.Array) -> None:
    """The results of the first rows, among MOST_ROWS and among fewer."""
    run = jax.jit(operation)
    expected = jax.tree.map(np.asarray, run(*rows))
    for count in COUNTS:
        result = run(*(x[:count] for x in rows))
        for got, want in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(np.asarray(got), want[:count], err_msg=f"{count} rows")


def normal(*shape: int, dtype: str = "float32") -> jax.Array:
    return jnp.asarray(np.random.default_rng(shape[-1]).standard_normal((MOST_ROWS, *shape)), dtype)


@pytest.mark.parametrize("size", [48, 97])
@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh"])
def test_activations(name: Activation, size: int) -> None:
    assert_independent(ACTIVATIONS[name], normal(size))


@pytest.mark.parametrize("blocks", [(1, 2, 48), (3, 2, 16)])
def test_gates(blocks: tuple[int, ...]) -> None:
    assert_independent(lambda both: ACTIVATIONS["silu"](both[:, :, 0]) * both[:, :, 1], normal(*blocks))


@pytest.mark.parametrize("pairs", ["halves", "adjacent"])
@pytest.mark.parametrize("shape", [(3, 8), (9, 64)])
def test_rotations(shape: tuple[int, int], pairs: Any) -> None:
    rope = Rope(shape[1], 10000.0, pairs)
    positions = jnp.arange(MOST_ROWS, dtype=jnp.int32) * 7
    assert_independent(lambda x, at: rotate(x, rotation(rope, at, 4096), rope), normal(*shape), positions)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(97,), (9, 64)])
def test_int8_rows(shape: tuple[int, ...], dtype: str) -> None:
    assert_independent(quantize_rows, normal(*shape, dtype=dtype))
