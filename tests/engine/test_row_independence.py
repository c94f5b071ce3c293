"""What invariant 2 stands on: a row of a product or a norm has the same bits however many rows there are (>= 2)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.layers.linear import linear
from jaxpaged.layers.norms import layer_norm, rms_norm
from jaxpaged.models.spec import LayerNorm, RMSNorm
from jaxpaged.quant.int8 import quantize_weight

# inputs of a row, outputs: qkv, out, gate_up, down and head of a tiny model and of one with 135M parameters.
SHAPES = [
    ((32,), (2, 4, 8)),
    ((2, 2, 8), (32,)),
    ((32,), (48, 2)),
    ((48,), (32,)),
    ((32,), (131,)),
    ((576,), (3, 5, 64)),
    ((3, 3, 64), (576,)),
    ((576,), (1536, 2)),
    ((1536,), (576,)),
]
COUNTS = (2, 8, 16, 32, 48, 64, 96, 128)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_linear(inputs: tuple[int, ...], outputs: tuple[int, ...], kind: str) -> None:
    rng = np.random.default_rng(0)
    dtype = jnp.float32 if kind == "int8" else jnp.dtype(kind)
    x = jnp.asarray(rng.standard_normal((max(COUNTS), *inputs)), dtype)
    w = jnp.asarray(rng.standard_normal((*outputs, *inputs)), dtype)
    weight = quantize_weight(w, len(inputs)) if kind == "int8" else w
    product = jax.jit(lambda x, w: linear(x, w, out_dtype=jnp.float32))
    everything = np.asarray(product(x, weight))
    for count in COUNTS:
        np.testing.assert_array_equal(np.asarray(product(x[:count], weight)), everything[:count], err_msg=str(count))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("row", [(20,), (32,), (4, 16), (128,), (9, 64), (576,), (1536,)])
def test_norms(row: tuple[int, ...], dtype: str) -> None:
    """So many rows that a difference in the last bits, which rounding to two bytes hides, shows in some."""
    rng = np.random.default_rng(0)
    rows = 1536
    x = jnp.asarray(rng.standard_normal((rows, *row)), dtype)
    weight, bias = (jnp.asarray(rng.standard_normal(row[-1]), dtype) for _ in range(2))

    @partial(jax.jit, static_argnums=1)
    def norms(x: jax.Array, count: int) -> tuple[jax.Array, ...]:
        """Of `count` rows at a time."""

        def some(x: jax.Array) -> tuple[jax.Array, ...]:
            return rms_norm(x, weight, RMSNorm(1e-6)), layer_norm(x, weight, bias, LayerNorm(1e-5))

        return jax.tree.map(lambda y: y.reshape(rows, *row), jax.lax.map(some, x.reshape(-1, count, *row)))

    everything = norms(x, rows)
    for count in (8, 24, 64):
        for part, whole in zip(norms(x, count), everything, strict=True):
            np.testing.assert_array_equal(np.asarray(part), np.asarray(whole), err_msg=str(count))
