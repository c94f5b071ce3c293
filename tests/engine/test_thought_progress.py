"""Where a sequence stands in its thoughts, by its tokens alone."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpaged.engine.thinking.thought import ThoughtProgress
from jaxpaged.params.thinking import ThinkingLimit

BEGIN, END = (1, 2), (7, 7, 8)


def progress(budget: int, begun: int | None = None, forced: tuple[int, ...] = END) -> ThoughtProgress:
    return ThoughtProgress.of(ThinkingLimit(budget, (BEGIN,), (forced,), (END,), begun))


@pytest.mark.parametrize(
    ("tokens", "free", "forced"),
    [
        ([], 4, None),  # (tokens, how many may follow, which one is forced then); a budget of 2, nothing open
        ([5, 1], 3, None),
        ([1, 3, 2], 4, None),
        ([1, 2], 2, None),
        ([1, 2, 5, 7], 0, 7),
        ([1, 2, 7, 7], 0, 8),  # the model has begun the mark by itself
        ([1, 2, 7, 5], 0, 7),
        ([1, 2, 5, 5, 7], 0, 7),
        ([1, 2, 5, 7, 7, 8], 4, None),
        ([1, 2, 5, 5, 7, 7, 8, 1, 2, 5], 1, None),  # the second thought has tokens of its own
    ],
)
def test_what_may_follow(tokens: list[int], free: int, forced: int | None) -> None:
    one = progress(2)
    one.advance(tokens)
    assert one.free() == free
    assert forced is None or one.next_forced() == forced


def test_a_prompt_has_begun_the_thought() -> None:
    assert [progress(3, begun).free() for begun in (0, 2, 3, 9)] == [3, 1, 0, 0]


def test_a_sentence_may_come_before_the_mark() -> None:
    """A thought that the model ends by itself has only the mark; one that is ended for it has the sentence too."""
    one = progress(1, 0, forced=(4, 4, 5, *END))
    one.advance([6])
    said = []
    while not one.free():
        said.append(one.next_forced())
        one.advance(said[-1:])
    assert said == [4, 4, 5, *END]


def test_each_begin_has_an_end_of_its_own() -> None:
    limit = ThinkingLimit(0, (BEGIN, (3,)), (END, (9,)), (END, (9,)), 0, 1)
    one = ThoughtProgress.of(limit)
    assert one.next_forced() == 9
    one.advance([9, 1, 2])
    assert (one.free(), one.next_forced()) == (0, 7)


def test_whatever_comes_thoughts_stay_within_their_budget(rng: np.random.Generator) -> None:
    """The tokens of two marks at random; free() never falls by more than one a token, so that plans may be ahead."""
    for budget in range(4):
        one, tokens = progress(budget), []
        for _ in range(400):
            before = one.free()
            tokens.append(int(rng.choice([1, 2, 7, 8])) if before else one.next_forced())
            one.advance(tokens[-1:])
            assert one.free() >= before - 1
            assert one.length is None or one.length <= budget + len(END)
