"""The text that the bundled model learns: right answers, a clean split, the same for everyone."""

from random import Random

import pytest

from demo_model.tasks import (
    NEVER_HELD_OUT,
    TASKS,
    Task,
    add,
    conversation,
    count_up,
    count_words,
    draw,
    reverse,
    sort,
    story,
)

MEASURED = [task for task in TASKS if task not in NEVER_HELD_OUT]


def test_training_never_shows_what_is_held_out() -> None:
    rng = Random(0)
    shown = [example for _ in range(300) for example in conversation(rng, 10)[1] if example.task != "small talk"]
    assert len(shown) > 2000
    assert not any(example.held_out for example in shown)


@pytest.mark.parametrize("task", MEASURED, ids=lambda task: task.__name__)
def test_the_wording_does_not_decide_the_split(task: Task) -> None:
    rng = Random(1)
    sides: dict[str, bool] = {}
    for _ in range(2000):
        example = task(rng)
        assert sides.setdefault(example.key, example.held_out) == example.held_out
    assert 0 < sum(sides.values()) < len(sides) / 4


def test_the_same_seed_gives_the_same_text() -> None:
    assert conversation(Random(7), 20) == conversation(Random(7), 20)
    assert conversation(Random(7), 20) != conversation(Random(8), 20)


def test_sums_are_right() -> None:
    for seed in range(200):
        left, total = add(Random(seed)).answer.split(" = ")
        a, b = left.split(" + ")
        assert int(a) + int(b) == int(total)


def test_lists_are_right() -> None:
    for seed in range(200):
        rng = Random(seed)
        words = sort(rng).answer.removeprefix("Sorted: ").split()
        assert words == sorted(words)
        example = reverse(rng)
        backwards = example.answer.removeprefix("Reversed: ").split()
        assert " ".join(reversed(backwards)) in example.question.replace(",", "")
        example = count_words(rng)
        assert int(example.answer.split()[0]) == len(example.key.split())
        numbers = [int(number) for number in count_up(rng).answer.split()]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))


def told(sentences: list[str], question: str) -> str:
    """What the sentences say last about the question's subject."""
    facts = {}
    for sentence in sentences:
        words = sentence.rstrip(".").split()
        asked = {"went": "Where", "put": "Where", "gave": "Who", "painted": "What"}[words[1]]
        facts[asked, words[0] if words[1] == "went" else words[3]] = words[-1]
    words = question.rstrip("?").split()
    return facts[words[0], words[-1]]


def test_a_story_is_answered_by_what_it_says_last() -> None:
    for seed in range(300):
        example = story(Random(seed))
        *sentences, question = example.question.removeprefix("Read this story: ").removeprefix("Story: ").split(". ")
        assert told(sentences, question) in example.answer.rstrip(".").split()


@pytest.mark.parametrize("held_out", [True, False])
def test_draw_takes_the_side_it_is_told(held_out: bool) -> None:
    assert all(draw(Random(seed), sort, held_out=held_out).held_out == held_out for seed in range(20))
