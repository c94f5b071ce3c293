"""F11: 40 requests on pools from almost nothing up: every one ends, as it would with room for all."""

from __future__ import annotations

import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import EngineRequest
from jaxpaged.errors import RequestError
from tests.engine.drive import Answers, ask, preemptions, rescheduled, run
from tests.engine.tiny import VOCAB

PAGE = 16


def messages() -> list[EngineRequest]:
    lengths = [3 + (11 * i) % 60 for i in range(40)]
    prompts = [[(13 * i + 31 * j) % VOCAB for j in range(length)] for i, length in enumerate(lengths)]
    return [ask(f"r{i}", prompt, max_tokens=5 + i % 30) for i, prompt in enumerate(prompts)]


@pytest.fixture(scope="module")
def with_room(engine: Engine) -> Answers:
    return run(rescheduled(engine), messages())


@pytest.mark.parametrize(
    ("pages", "caching"), [(8, False), (8, True), (12, False), (20, True), (33, False), (64, True)]
)
def test_small_pools_give_the_same_answers(engine: Engine, with_room: Answers, pages: int, caching: bool) -> None:
    tight = rescheduled(engine, pages=pages, caching=caching)
    answers = run(tight, messages())
    assert {name: answer.content for name, answer in answers.items()} == {
        name: answer.content for name, answer in with_room.items()
    }
    assert pages > 20 or preemptions(tight) > 0


def test_what_can_never_fit_is_refused_at_once(engine: Engine) -> None:
    """The null page counts: a pool of 8 has 7 to give."""
    tight = rescheduled(engine, pages=8)
    with pytest.raises(RequestError):
        tight.add(ask("large", [1] * (7 * PAGE), max_tokens=2 * PAGE))
    assert run(tight, [ask("fits", [1] * (6 * PAGE), max_tokens=PAGE)])["fits"].reason == "length"
