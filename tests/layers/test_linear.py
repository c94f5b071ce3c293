"""linear(): orders of axes, precision, and quantized weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.layers.linear import linear
from jaxpaged.quant.int8 import quantize_weight
from jaxpaged.quant.plain import PLAIN
from jaxpaged.quant.scheme import Parameter, Role
from jaxpaged.quant.schemes import SCHEMES, choose_scheme

pytestmark = pytest.mark.slow  # each shape is a program of its own


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, jnp.float32)


def test_it_contracts_all_axes_of_a_row_with_the_last_of_the_weight() -> None:
    x, w, bias = normal(0, 5, 2, 3), normal(1, 4, 6, 2, 3), normal(2, 4, 6)
    expected = np.einsum("tij,abij->tab", x, w) + np.asarray(bias)
    np.testing.assert_allclose(linear(x, w, bias=bias), expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_sums_in_float32() -> None:
    x, w = jnp.ones((2, 4096), jnp.bfloat16), jnp.full((1, 4096), 1 / 64, jnp.bfloat16)
    w = w.at[0, 0].set(257 / 64)  # bfloat16 partial sums would lose it
    assert linear(x, w).dtype == jnp.bfloat16
    exact = np.asarray(w, np.float64).sum()
    assert linear(x, w, out_dtype=jnp.float32)[0, 0] == pytest.approx(exact, rel=1e-6)


def test_a_row_does_not_depend_on_how_many_rows_there_are() -> None:
    x, w = normal(3, 64, 48), normal(4, 80, 48)
    all_rows = jax.jit(linear)(x, w)
    assert jnp.array_equal(jax.jit(linear)(x[:8], w), all_rows[:8])


def test_int8_is_exact_where_rounding_is() -> None:
    """Rows and weights that are whole multiples of their scale come out exactly."""
    w = jnp.asarray([[127, -3, 0, 50], [2, 127, -127, 1]], jnp.float32) * 0.25
    x = jnp.asarray([[127, 1, -2, 5], [0, 0, 127, -127]], jnp.float32) * 2.0
    np.testing.assert_allclose(linear(x, quantize_weight(w, 1)), np.asarray(x) @ np.asarray(w).T, rtol=1e-6)


def test_int8_scales_each_output_and_each_row_on_its_own() -> None:
    x = normal(5, 8, 64) * jnp.logspace(-3, 3, 8)[:, None]
    w = normal(6, 10, 64) * jnp.logspace(-3, 3, 10)[:, None]
    exact = np.asarray(x) @ np.asarray(w).T
    sizes = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(w, axis=1)[None]
    assert (np.abs(linear(x, quantize_weight(w, 1)) - exact) / sizes).max() < 0.01


def test_zero_rows_and_channels_stay_zero() -> None:
    w = normal(7, 4, 16).at[1].set(0.0)
    out = linear(normal(8, 3, 16).at[2].set(0.0), quantize_weight(w, 1))
    assert (out[2] == 0).all()
    assert (out[:, 1] == 0).all()
    assert (out[:2, [0, 2, 3]] != 0).all()


def parameter(inputs: int = 1, role: Role = "layer") -> Parameter:
    return Parameter((4, 8), ("ffn", "embed"), np.dtype(np.float32), inputs, role)


def test_int8_stores_the_matrices_of_layers() -> None:
    int8 = SCHEMES["int8"]
    assert choose_scheme("layers.{i}.mixer.qkv", parameter(), int8) == int8
    assert choose_scheme("layers.{i}.mixer.qkv", parameter(), None) == PLAIN
    assert choose_scheme("layers.{i}.mixer.qkv_bias", parameter(inputs=0), int8) == PLAIN
    assert choose_scheme("head.weight", parameter(role="head"), int8) == PLAIN
    assert choose_scheme("embedding.project", parameter(role="embedding"), int8) == PLAIN


def test_the_first_override_that_fits_the_end_of_the_name_decides() -> None:
    int8 = SCHEMES["int8"]
    overrides = ((r"mixer\.out", None), (r"out|head\.weight", int8))
    assert choose_scheme("layers.{i}.mixer.out", parameter(), int8, overrides) == PLAIN
    assert choose_scheme("layers.{i}.mixer.out_more", parameter(), int8, overrides) == int8
    assert choose_scheme("head.weight", parameter(role="head"), None, overrides) == int8
    assert choose_scheme("layers.{i}.ffn.out", parameter(inputs=0), int8, overrides) == PLAIN
