"""`scripts/test --types` runs with shapes and types checked: a wrong one is refused at the call."""

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from jaxpaged.layers.linear import linear
from jaxpaged.layers.rope import rotation
from jaxpaged.models.rope import Rope
from jaxpaged.quant.product import product


@pytest.fixture(autouse=True)
def checked(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("jaxtyping_packages"):
        pytest.skip("without --jaxtyping-packages nothing is checked")


X, W = jnp.zeros((3, 4)), jnp.zeros((5, 4))


def test_right_shapes_pass() -> None:
    assert linear(X, W, bias=jnp.zeros(5)).shape == (3, 5)


def test_a_wrong_number_of_axes_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="rotation"):
        rotation(Rope(4, 10000.0), jnp.zeros((3, 4), jnp.int32), 8)


def test_sizes_that_disagree_are_refused() -> None:
    with pytest.raises(TypeCheckError, match="linear"):
        linear(X, W, jnp.zeros(2, jnp.int32))


def test_a_wrong_dtype_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="rotation"):
        rotation(Rope(4, 10000.0), X[0], 8)


def test_what_is_no_array_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="product"):
        product(X, "a weight")
