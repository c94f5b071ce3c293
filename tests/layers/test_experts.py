"""A mixture against its definition in float64, and its parts on several devices against the whole."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.layers.experts import Share, Weights, mix
from jaxpaged.layers.router import Choice
from jaxpaged.models.experts import ClampedSwiGLU, Experts, Router

ROWS, EXPERTS, TOP, HIDDEN, SIZE = 9, 6, 3, 10, 8
RNG = np.random.default_rng(3)
X = RNG.standard_normal((ROWS, HIDDEN))
GATE, UP = RNG.standard_normal((2, EXPERTS, SIZE, HIDDEN))
DOWN = RNG.standard_normal((EXPERTS, HIDDEN, SIZE))
GATE_BIAS, UP_BIAS = RNG.standard_normal((2, EXPERTS, SIZE))
DOWN_BIAS = RNG.standard_normal((EXPERTS, HIDDEN))
CHOSEN = np.stack([RNG.permutation(EXPERTS)[:TOP] for _ in range(ROWS)])
SHARES = RNG.random((ROWS, TOP))
CHOICE = Choice(jnp.asarray(CHOSEN, "int32"), jnp.asarray(SHARES, "float32"))
CLAMP = ClampedSwiGLU(limit=1.5)


def weights(first: int = 0, count: int = EXPERTS) -> Weights:
    held = slice(first, first + count)
    stored = np.stack([GATE, UP], axis=1)[:, None], DOWN, np.stack([GATE_BIAS, UP_BIAS], axis=1)[:, None], DOWN_BIAS
    return Weights(*(jnp.asarray(each[held], "float32") for each in stored))


def expert(x: np.ndarray, e: int, activation: object) -> np.ndarray:
    gate, up = GATE[e] @ x + GATE_BIAS[e], UP[e] @ x + UP_BIAS[e]
    if isinstance(activation, ClampedSwiGLU):
        gate, up = np.minimum(gate, activation.limit), np.clip(up, -activation.limit, activation.limit)
        inner = (up + 1) * gate / (1 + np.exp(-activation.alpha * gate))
    else:
        inner = up * gate / (1 + np.exp(-gate))
    return DOWN[e] @ inner + DOWN_BIAS[e]


def part(activation: object = "silu", **changes: object) -> Experts:
    return Experts(Router(EXPERTS, TOP), SIZE, activation, bias=True, **changes)


@pytest.mark.parametrize("activation", ["silu", CLAMP])
@pytest.mark.parametrize("scale_inputs", [False, True])
def test_the_sum_of_the_chosen_experts(activation: object, scale_inputs: bool) -> None:
    def share(row: int, k: int) -> np.ndarray:
        if scale_inputs:
            return expert(X[row] * SHARES[row, k], CHOSEN[row, k], activation)
        return SHARES[row, k] * expert(X[row], CHOSEN[row, k], activation)

    want = [sum(share(row, k) for k in range(TOP)) for row in range(ROWS)]
    got = mix(
        part(activation, scale_inputs=scale_inputs), jnp.asarray(X, "float32"), CHOICE, weights(), Share(0, EXPERTS)
    )
    assert np.allclose(got, want, atol=1e-4)


def test_the_sums_of_devices_with_whole_experts_add_up() -> None:
    x = jnp.asarray(X, "float32")
    whole = mix(part(), x, CHOICE, weights(), Share(0, EXPERTS))
    halves = [mix(part(), x, CHOICE, weights(first, 3), Share(first, 3)) for first in (0, 3)]
    assert np.allclose(halves[0] + halves[1], whole, atol=1e-5)
    assert not np.allclose(halves[0], whole, atol=1e-2)


def test_padding_costs_and_adds_nothing() -> None:
    """Rows that are no tokens reach no expert: those that they alone choose may hold anything."""
    is_token = jnp.arange(ROWS) < 2
    used = set(CHOSEN[:2].ravel().tolist())
    spoiled = Weights(
        *(
            jnp.where(
                jnp.isin(jnp.arange(EXPERTS), jnp.asarray(sorted(used))).reshape(-1, *[1] * (each.ndim - 1)),
                each,
                jnp.nan,
            )
            for each in weights()
        )
    )
    assert len(used) < EXPERTS
    x = jnp.asarray(X, "float32")
    got = mix(part(), x, CHOICE, spoiled, Share(0, EXPERTS, is_token))
    assert np.array_equal(got[:2], mix(part(), x, CHOICE, weights(), Share(0, EXPERTS))[:2])
    assert not got[2:].any()
