"""A request may be aborted at any moment: its pages and row are free at once, nothing more is heard of it."""

from __future__ import annotations

import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import EngineRequest
from jaxpaged.errors import QueueFullError, RequestError
from jaxpaged.scheduling.request import RequestStatus
from tests.engine.drive import Answer, Answers, ask, assert_idle, collect, preemptions, rescheduled, run
from tests.engine.tiny import VOCAB
from tests.names import name_of, number


def messages() -> list[EngineRequest]:
    lengths = (5, 40, 70, 30, 64, 33)
    return [
        ask(str(i), [(i + 5 * j) % VOCAB for j in range(n)], max_tokens=30, prompt_logprobs=1 if i == 3 else None)
        for i, n in enumerate(lengths)
    ]


@pytest.fixture(scope="module")
def undisturbed(engine: Engine) -> Answers:
    return run(rescheduled(engine), messages())


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_in_every_state(engine: Engine, undisturbed: Answers, depth: int) -> None:
    """One request is aborted after k steps, for many k; the others answer as if it had never been there."""
    states = set()
    for after in range(0, 60, 3 if depth == 2 else 9):
        victim = str(after // 3 % len(messages()))
        tight = rescheduled(engine, pages=12, max_num_seqs=4, depth=depth)
        answers = {name_of(message.request_id): Answer() for message in messages()}
        for message in messages():
            tight.add(message)

        def abort(step: int, after: int = after, victim: str = victim, tight: Engine = tight) -> None:
            if step == after:
                request = tight.scheduler.requests.get(number(victim))
                states.add(None if request is None else request.status)
                tight.abort([number(victim), number("nobody")])
                tight.scheduler.check()
                assert number(victim) not in tight.scheduler.requests

        collect(tight, answers, abort)
        assert_idle(tight)
        del answers[victim]
        for name, answer in answers.items():
            assert answer.content == undisturbed[name].content
        assert preemptions(tight) > 0 or after < 9
    assert depth != 2 or states >= {RequestStatus.WAITING, RequestStatus.RUNNING, None}


def test_a_preempted_request(engine: Engine) -> None:
    tight = rescheduled(engine, pages=9)
    for message in messages()[1:3]:
        tight.add(message)
    for _ in range(200):
        tight.step()
        preempted = [r for r in tight.scheduler.requests.values() if r.status is RequestStatus.PREEMPTED]
        if preempted:
            break
    tight.abort([preempted[0].request_id])
    tight.scheduler.check()
    assert tight.stats().num_waiting == 0
    tight.abort([message.request_id for message in messages()])
    tight.drain()
    assert_idle(tight)


def test_all_at_once_with_plans_in_flight(engine: Engine) -> None:
    busy = rescheduled(engine, depth=3)
    for message in messages():
        busy.add(message)
    for _ in range(5):
        busy.step()
    busy.abort([message.request_id for message in messages()])
    busy.scheduler.check()
    outputs = []
    while busy.has_work():
        outputs += busy.step()
    assert outputs == []
    assert_idle(busy)


def test_requests_that_can_never_run_are_refused_and_leave_nothing(engine: Engine) -> None:
    tight = rescheduled(engine, pages=5, max_queued_requests=2)
    with pytest.raises(RequestError, match="KV pages"):
        tight.add(ask("too large", [1] * 60, max_tokens=30))
    with pytest.raises(RequestError, match="empty"):
        tight.add(ask("empty", []))
    with pytest.raises(RequestError, match="at most 20"):
        tight.add(ask("greedy for logprobs", [1], logprobs=21))
    tight.add(ask("0", [1]))
    with pytest.raises(RequestError, match="running already"):
        tight.add(ask("0", [2]))
    tight.add(ask("1", [1]))
    with pytest.raises(QueueFullError):
        tight.add(ask("2", [1]))
    collect(tight, {"0": Answer(), "1": Answer()})
    assert_idle(tight)
