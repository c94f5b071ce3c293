"""The table of weight formats: its names are those that quantization= takes."""

from __future__ import annotations

from typing import get_args

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.config import Quantization
from jaxpaged.quant.plain import DUMMY_STD
from jaxpaged.quant.scheme import Parameter, QuantizedWeight, Scheme
from jaxpaged.quant.schemes import SCHEMES

PARAMETER = Parameter((48, 64), ("ffn", "embed"), np.dtype(np.float32), inputs=1)


def test_the_setting_takes_the_names_of_the_table() -> None:
    assert sorted(get_args(Quantization)) == sorted(SCHEMES)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_every_scheme_keeps_its_word(scheme: Scheme) -> None:
    """Leaves are as they are declared, from floats and as dummies, and stand for the weight that they are made of."""
    rng = np.random.default_rng(0)
    weight = jnp.asarray(rng.standard_normal(PARAMETER.shape), jnp.float32)
    x = jnp.asarray(rng.standard_normal((8, 64)), jnp.float32)
    declared = scheme.leaves(PARAMETER)
    leaves = scheme.pack(weight, PARAMETER)
    noise = [jnp.asarray(rng.random(leaf.shape) - 0.5, jnp.float32) for leaf in declared]
    dummies = [scheme.dummy(leaf, each) for leaf, each in zip(declared, noise, strict=True)]
    for made in (leaves, dummies):
        assert [(array.shape, array.dtype) for array in made] == [(leaf.shape, leaf.dtype) for leaf in declared]
    product = QuantizedWeight(leaves, scheme).product(x)
    assert product.dtype == jnp.float32
    exact = np.asarray(x) @ np.asarray(weight).T
    assert np.corrcoef(product.ravel(), exact.ravel())[0, 1] > 0.98
    identity = scheme.product(jnp.eye(64, dtype=jnp.float32), dummies)
    assert abs(float(identity.std()) - DUMMY_STD) < 0.1 * DUMMY_STD


def test_schemes_have_leaves_of_their_own() -> None:
    """A converted checkpoint is known by them."""
    seen = [tuple((leaf.name, leaf.dtype) for leaf in scheme.leaves(PARAMETER)) for scheme in SCHEMES.values()]
    assert len(set(seen)) == len(seen)
