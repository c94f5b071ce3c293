"""Which experts rows choose, and their weights."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.layers.router import choose
from jaxpaged.models.experts import ExpertGroups, Router

LOGITS = jnp.asarray([[2.0, -1.0, 0.5, 1.0, 0.0, -2.0], [-3.0, 0.1, 0.2, 0.3, 0.4, 4.0]])


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(np.asarray(x, np.float64))
    return powers / powers.sum(-1, keepdims=True)


def test_the_best_experts_share_their_softmax() -> None:
    experts, weights = choose(LOGITS, Router(6, 2))
    assert experts.tolist() == [[0, 3], [5, 4]]
    assert np.allclose(weights, [softmax([2.0, 1.0]), softmax([4.0, 0.4])], atol=1e-6)


def test_weights_may_keep_their_share_of_all_experts() -> None:
    _, weights = choose(LOGITS, Router(6, 2, renormalize=False, scale=2.5))
    assert np.allclose(weights[0], 2.5 * softmax(LOGITS)[0, [0, 3]], atol=1e-6)


def test_a_correction_changes_the_choice_and_no_weight() -> None:
    correction = jnp.asarray([0, 0.9, 0, 0, 0, 0])
    experts, weights = choose(LOGITS, Router(6, 2, scores="sigmoid", renormalize=False), correction)
    assert experts.tolist() == [[1, 0], [1, 5]]
    assert np.allclose(weights[0], 1 / (1 + np.exp([1.0, -2.0])), atol=1e-6)


def test_experts_come_from_the_best_groups() -> None:
    """Groups (0, 1), (2, 3), (4, 5): by their best score, or by the sum of their best two."""
    by_best = choose(LOGITS, Router(6, 2, groups=ExpertGroups(3, 1)))
    assert by_best.experts.tolist() == [[0, 1], [5, 4]]
    by_two = choose(LOGITS[:1], Router(6, 2, scores="sigmoid", groups=ExpertGroups(3, 1, best=2)))
    assert by_two.experts.tolist() == [[3, 2]]


def test_sparsemixer_weighs_a_choice_among_those_near_to_it() -> None:
    logits = jnp.asarray([[1.0, 0.99, -1.0, 0.5]])
    experts, weights = choose(logits, Router(4, 2, scores="sparsemixer", jitter=0.01))
    assert experts.tolist() == [[0, 1]]
    assert np.allclose(weights, [[softmax([1.0, 0.99])[0], 1.0]], atol=1e-6)


@pytest.mark.parametrize(
    ("router", "words"),
    [
        (Router(4, 5), "5 experts a token of 4"),
        (Router(4, 3, scores="sparsemixer"), "sparsemixer chooses 2"),
        (Router(6, 1, groups=ExpertGroups(4, 1)), "4 groups of 6 experts"),
        (Router(6, 3, groups=ExpertGroups(3, 1)), "3 experts a token of 1 groups with 2 each"),
    ],
)
def test_impossible_numbers_are_refused(router: Router, words: str) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        router.check()
