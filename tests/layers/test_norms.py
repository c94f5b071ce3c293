"""Norms: their formulas, in float32 whatever comes in."""

import jax.numpy as jnp
import numpy as np

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


def test_bfloat16_is_rounded_once_at_the_end() -> None:
    x, weight = jnp.asarray(X, jnp.bfloat16), jnp.asarray(WEIGHT, jnp.bfloat16)
    wide = rms_norm(x.astype(jnp.float32), weight.astype(jnp.float32), RMSNorm(1e-6))
    assert jnp.array_equal(rms_norm(x, weight, RMSNorm(1e-6)), wide.astype(jnp.bfloat16))
