"""Norms: their formulas, in float32 whatever comes in."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.layers.norms import layer_norm, rms_norm
from jaxpaged.models.spec import LayerNorm, RMSNorm

RNG = np.random.default_rng(0)
X, WEIGHT, BIAS = (RNG.standard_normal(shape).astype(np.float32) for shape in ((5, 32), 32, 32))


def test_rms_norm() -> None:
    expected = X / np.sqrt((X**2).mean(-1, keepdims=True) + 0.1) * (1 + WEIGHT)
    np.testing.assert_allclose(rms_norm(jnp.asarray(X), jnp.asarray(WEIGHT), RMSNorm(0.1, 1.0)), expected, rtol=1e-5)


def test_layer_norm() -> None:
    expected = (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 0.1) * WEIGHT + BIAS
    out = layer_norm(jnp.asarray(X), jnp.asarray(WEIGHT), jnp.asarray(BIAS), LayerNorm(0.1))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("weight", "bias"), [(WEIGHT, None), (None, None)])
def test_layer_norm_without_some_of_its_parameters(weight: np.ndarray | None, bias: None) -> None:
    expected = (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 0.1)
    expected = expected if weight is None else expected * weight
    norm = LayerNorm(0.1, weight=weight is not None, bias=False)
    out = layer_norm(jnp.asarray(X), None if weight is None else jnp.asarray(weight), bias, norm)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_each_head_may_have_a_weight_of_its_own() -> None:
    rows, weights = X.reshape(5, 4, 8), WEIGHT.reshape(4, 8)
    out = rms_norm(jnp.asarray(rows), jnp.asarray(weights), RMSNorm(0.1))
    for head in range(4):
        alone = rms_norm(jnp.asarray(rows[:, head]), jnp.asarray(weights[head]), RMSNorm(0.1))
        np.testing.assert_allclose(out[:, head], alone, rtol=1e-6)


def test_bfloat16_is_rounded_once_at_the_end() -> None:
    x, weight = jnp.asarray(X, jnp.bfloat16), jnp.asarray(WEIGHT, jnp.bfloat16)
    wide = rms_norm(x.astype(jnp.float32), weight.astype(jnp.float32), RMSNorm(1e-6))
    assert jnp.array_equal(rms_norm(x, weight, RMSNorm(1e-6)), wide.astype(jnp.bfloat16))
