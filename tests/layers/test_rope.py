"""Rotary positions: what must hold whatever the implementation."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.layers.rope import frequencies_of, rotate, rotation
from jaxpaged.models.rope import DynamicScaling, LinearScaling, Llama3Scaling, LongRopeScaling, Rope, YarnScaling

HALVES, ADJACENT = Rope(16, 10000.0), Rope(16, 10000.0, pairs="adjacent")


def turned(rope: Rope, x: np.ndarray, position: int) -> np.ndarray:
    by = rotation(rope, jnp.asarray([position], jnp.int32), max_position=64)
    return np.asarray(rotate(jnp.asarray(x)[None, None], by, rope))[0, 0]


@pytest.mark.parametrize("rope", [HALVES, ADJACENT, Rope(8, 500.0)])
def test_the_score_depends_on_the_distance_alone(rope: Rope) -> None:
    q, k = np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)
    near = turned(rope, q, 5) @ turned(rope, k, 2)
    far = turned(rope, q, 43) @ turned(rope, k, 40)
    assert near == pytest.approx(far, abs=1e-5)
    assert near != pytest.approx(turned(rope, q, 6) @ turned(rope, k, 2), abs=1e-3)


def test_pairs_are_the_same_rotation_of_other_dimensions() -> None:
    x = np.random.default_rng(1).standard_normal(16).astype(np.float32)
    order = np.arange(16).reshape(2, 8).T.ravel()  # halves -> adjacent
    np.testing.assert_allclose(turned(ADJACENT, x[order], 7), turned(HALVES, x, 7)[order], rtol=1e-6)


def test_dimensions_behind_the_rotated_ones_pass() -> None:
    x = np.random.default_rng(2).standard_normal(16).astype(np.float32)
    after = turned(Rope(6, 10000.0), x, 9)
    assert (after[6:] == x[6:]).all()
    assert (after[:6] != x[:6]).all()


def test_bfloat16_rows_are_rotated_in_float32() -> None:
    by = rotation(HALVES, jnp.asarray([1001], jnp.int32), max_position=2048)
    x = jnp.ones((1, 1, 16), jnp.bfloat16)
    out = rotate(x, by, HALVES)
    assert out.dtype == jnp.bfloat16
    expected = rotate(x.astype(jnp.float32), by, HALVES).astype(jnp.bfloat16)
    assert jnp.array_equal(out, expected)


PLAIN = frequencies_of(HALVES, 64)[0]


def scaled(scaling: object, max_position: int = 64) -> tuple[np.ndarray, float]:
    return frequencies_of(dataclasses.replace(HALVES, scaling=scaling), max_position)


def test_linear_divides_every_frequency() -> None:
    np.testing.assert_allclose(scaled(LinearScaling(4.0))[0], PLAIN / 4, rtol=1e-6)


def test_dynamic_is_plain_up_to_the_original_length_and_slower_beyond() -> None:
    scaling = DynamicScaling(2.0, original_max_position=64)
    np.testing.assert_array_equal(scaled(scaling, 64)[0], PLAIN)
    longer = scaled(scaling, 256)[0]
    assert longer[0] == PLAIN[0]
    assert (np.diff(longer / PLAIN) < 0).all()


@pytest.mark.parametrize(
    "scaling", [YarnScaling(8.0, 2048, truncate=False), Llama3Scaling(8.0, 1.0, 4.0, 2048)], ids=["yarn", "llama3"]
)
def test_fast_frequencies_stay_and_slow_ones_are_divided(scaling: object) -> None:
    ratio = scaled(scaling)[0] / PLAIN
    assert ratio[0] == pytest.approx(1)
    assert ratio[-1] == pytest.approx(1 / 8)
    assert (np.diff(ratio) <= 1e-6).all()


def test_the_served_length_chooses_long_rope_s_factors() -> None:
    scaling = LongRopeScaling((1.0,) * 8, (2.0,) * 8, original_max_position=64, attention_factor=1.25)
    np.testing.assert_allclose(scaled(scaling, 64)[0], PLAIN, rtol=1e-6)
    np.testing.assert_allclose(scaled(scaling, 65)[0], PLAIN / 2, rtol=1e-6)
    rope = dataclasses.replace(HALVES, scaling=scaling)
    assert rotation(rope, jnp.zeros(1, jnp.int32), 65).cos[0, 0] == 1.25
