"""How requests end: stops, aborts, finishes from outside, logits that are not finite."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpaged.scheduling.plan import ShardResult, StepResult
from tests.scheduling.harness import Harness, Setup, page_use
from tests.scheduling.test_scheduler import prompt


def oracle_tokens(length: int) -> list[int]:
    harness = Harness(Setup())
    tracked = harness.add(prompt(7), length)
    harness.drain()
    return tracked.tokens


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_stops(depth: int) -> None:
    tokens = oracle_tokens(12)
    position = next(i for i in range(2, 12) if tokens[i] not in tokens[:i])
    token = tokens[position]
    harness = Harness(Setup(depth=depth, max_num_seqs=8))
    by_id = harness.add(prompt(7), 12, stop_token_ids=[token])
    by_eos = harness.add(prompt(7), 12, eos=(token,))
    both = harness.add(prompt(7), 12, eos=(token,), stop_token_ids=[token, 1000])
    ignored = harness.add(prompt(7), 12, eos=(token,), ignore_eos=True)
    asked_for = harness.add(prompt(7), 12, eos=(token,), ignore_eos=True, stop_token_ids=[token])
    harness.drain()
    assert (by_id.request.finish_reason, by_id.request.stop_reason) == ("stop", token)
    assert (by_eos.request.finish_reason, by_eos.request.stop_reason) == ("stop", None)
    assert (both.request.finish_reason, both.request.stop_reason) == ("stop", None)
    assert ignored.request.finish_reason == "length"
    assert asked_for.request.stop_reason == token
    assert len(by_id.tokens) == len(by_eos.tokens) == position + 1


def test_nothing_stops_before_min_tokens() -> None:
    tokens = oracle_tokens(12)
    harness = Harness(Setup())
    early = harness.add(prompt(7), 12, stop_token_ids=sorted(set(tokens)), min_tokens=5)
    at_once = harness.add(prompt(7), 12, stop_token_ids=sorted(set(tokens)))
    harness.drain()
    assert (len(early.tokens), len(at_once.tokens)) == (5, 1)


def test_finish_from_outside_frees_everything_at_once() -> None:
    harness = Harness(Setup(depth=2))
    tracked = harness.add(prompt(9), 30)
    for _ in range(5):
        harness.turn()
    harness.scheduler.finish(tracked.request.request_id, "stop", "END")
    assert (tracked.request.finish_reason, tracked.request.stop_reason) == ("stop", "END")
    assert page_use(harness) == [0]
    harness.scheduler.finish(tracked.request.request_id, "stop")  # unknown by now: nothing happens
    assert harness.scheduler.has_work()  # a plan is in flight
    harness.drain()


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
@pytest.mark.parametrize("depth", [1, 3])
def test_abort_at_any_moment(turns: int, depth: int) -> None:
    harness = Harness(Setup(budget=4, depth=depth, max_num_seqs=2))
    tracked = [harness.add(prompt(11, i), 9) for i in range(4)]
    for _ in range(turns):
        harness.turn()
    for chosen in (0, 2):
        harness.scheduler.abort(tracked[chosen].request.request_id)
        harness.scheduler.check()
    harness.drain()
    assert [t.request.finish_reason for t in tracked] == ["abort", "length", "abort", "length"]


def test_logits_that_are_not_finite_end_their_request_only_and_publish_nothing() -> None:
    harness = Harness(Setup(num_pages=40))
    broken, healthy = harness.add(prompt(17, 1), 9), harness.add(prompt(17, 2), 9)
    harness.device.broken.add(broken.request.request_id)
    harness.drain()
    assert (broken.request.finish_reason, broken.tokens) == ("error", [])
    assert healthy.request.finish_reason == "length"
    again = harness.add(prompt(17, 1), 9)
    harness.drain()
    assert again.request.num_cached_tokens == 0
    assert again.request.finish_reason == "length"


def test_pages_of_a_prompt_in_chunks_are_published_after_the_first_finite_logits_only() -> None:
    harness = Harness(Setup(num_pages=40, budget=8))
    broken = harness.add(prompt(30, 1), 9)
    harness.device.broken.add(broken.request.request_id)
    for _ in range(3):
        harness.turn()  # 24 of 30 tokens: nobody has looked at logits yet
    assert broken.request.finish_reason is None
    harness.drain()
    assert broken.request.finish_reason == "error"
    assert harness.scheduler.shards[0].allocators[0].num_idle == 0


def test_a_row_may_fail_before_it_is_sampled() -> None:
    harness = Harness(Setup(budget=8))
    harness.add(prompt(30, 1), 9)
    plan = harness.scheduler.schedule()
    assert plan is not None
    nothing = ShardResult(np.zeros((1, 1), np.int32), np.zeros(1, np.int32), np.zeros(1, np.bool_))
    (commit,) = harness.scheduler.commit(plan, StepResult((nothing,))).shards
    assert [request.finish_reason for request in commit.finished] == ["error"]
    assert commit.num_tokens.tolist() == [0]
    harness.scheduler.check()
    assert page_use(harness) == [0]
