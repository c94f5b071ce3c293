"""The dense attention against a loop over queries, and ALiBi's slopes."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.layers.attention import LayerRef, alibi_slopes, dense_attend, stored_slopes
from jaxpaged.models.heads import plan_heads
from jaxpaged.models.spec import Alibi
from pallas_kernels.paged_attention.api import ScoreMod

RNG = np.random.default_rng(0)
Q, K, V = (RNG.standard_normal((12, heads, 8)).astype(np.float32) for heads in (6, 2, 2))


def one_query(t: int, head: int, visible: list[int], layer: LayerRef) -> np.ndarray:
    score = layer.score
    scores = np.asarray([Q[t, head] @ K[s, head // 3] for s in visible]) * score.scale
    if layer.alibi_slopes is not None:
        scores += np.asarray([(s - t) * float(layer.alibi_slopes[head]) for s in visible])
    if score.soft_cap is not None:
        scores = score.soft_cap * np.tanh(scores / score.soft_cap)
    weights = np.exp(scores)
    total = weights.sum() + (0 if layer.sinks is None else np.exp(float(layer.sinks[head])))
    return (weights[:, None] * np.stack([V[s, head // 3] for s in visible])).sum(0) / total


SCORES = {
    "plain": {"score": ScoreMod(0.4)},
    "window": {"score": ScoreMod(0.4, window=3)},
    "soft_cap": {"score": ScoreMod(0.4, soft_cap=0.7)},
    "alibi": {"score": ScoreMod(0.4), "alibi_slopes": jnp.asarray(alibi_slopes(Alibi(), 6))},
    "sinks": {"score": ScoreMod(0.4, window=5), "sinks": jnp.linspace(-1.0, 2.0, 6)},
    "chunk": {"score": ScoreMod(0.4, window=4, chunk=4)},
}


@pytest.mark.parametrize("segments", [None, [0] * 5 + [1] * 7])
@pytest.mark.parametrize("name", SCORES)
def test_dense_attention_is_softmax_over_the_visible(name: str, segments: list[int] | None) -> None:
    layer = LayerRef(0, jnp.int32(0), **SCORES[name])
    positions = np.arange(12) if segments is None else np.asarray([*range(5), *range(7)])
    attend = dense_attend(
        jnp.asarray(positions, jnp.int32), None if segments is None else jnp.asarray(segments, jnp.int32)
    )
    state, out = attend("passed through", *map(jnp.asarray, (Q, K, V)), layer)
    assert state == "passed through"
    window, chunk = layer.score.window or 99, layer.score.chunk or 99
    for t in range(12):
        first = 0 if segments is None or t < 5 else 5
        at = positions
        visible = [s for s in range(first, t + 1) if t - s < window and at[s] // chunk == at[t] // chunk]
        for head in range(6):
            np.testing.assert_allclose(out[t, head], one_query(t, head, visible, layer), rtol=1e-4, atol=1e-5)


def test_slopes_of_a_power_of_two_are_a_geometric_series() -> None:
    np.testing.assert_allclose(alibi_slopes(Alibi(), 8), [2.0**-i for i in range(1, 9)])


def test_slopes_between_powers_of_two_come_from_the_next_series() -> None:
    np.testing.assert_allclose(alibi_slopes(Alibi(), 6), [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3])


def test_slopes_may_be_steeper_and_scaled() -> None:
    np.testing.assert_allclose(alibi_slopes(Alibi(steepest=16.0), 6), alibi_slopes(Alibi(), 6) ** 2)
    np.testing.assert_allclose(alibi_slopes(Alibi(scale=0.25), 6), alibi_slopes(Alibi(), 6) / 4)


def test_zero_heads_have_no_slope() -> None:
    stored = stored_slopes(Alibi(), 6, plan_heads(6, 6, 4))
    np.testing.assert_array_equal(stored, [*alibi_slopes(Alibi(), 6), 0, 0])
