"""Who runs when: budgets, order, limits, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpaged.errors import InvariantError, QueueFullError, RequestError
from jaxpaged.kv.spec import cache_groups
from jaxpaged.scheduling.plan import ShardResult, StepPlan, StepResult
from tests.scheduling.harness import FULL, Harness, Setup, Tracked, page_use, window


def prompt(length: int, first: int = 1) -> list[int]:
    return [(first + 7 * i) % 24 for i in range(length)]


def names(plan: StepPlan) -> list[int]:
    return plan.shards[0].request_ids.tolist()


def turns_until_done(harness: Harness, tracked: Tracked) -> int:
    turns = 0
    while tracked.request.finish_reason is None:
        harness.turn()
        turns += 1
    return turns


# --- chunks and budgets ---


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_long_prompt_delays_running_decodes_by_no_step(depth: int) -> None:
    harness = Harness(Setup(num_pages=600, max_model_len=2100, budget=64, max_num_seqs=8, depth=depth))
    decoding = [harness.add(prompt(5, i), 60) for i in range(4)]
    for _ in range(4):
        harness.turn()
    harness.add(prompt(2000, 9), 1)
    for _ in range(30):
        plan = harness.turn()
        assert plan is not None
        part = plan.shards[0]
        assert set(names(plan)) >= {tracked.request.request_id for tracked in decoding}
        assert part.num_decodes == 4
        assert part.counts.sum() == 64  # the rest of the budget goes to the prompt
    harness.drain()


def test_every_token_of_the_budget_is_used_before_anyone_waits() -> None:
    harness = Harness(Setup(budget=16, max_num_seqs=4))
    for first in (1, 2, 3):
        harness.add(prompt(10, first), 2)
    counts = []
    for _ in range(3):
        plan = harness.turn()
        assert plan is not None
        counts.append(sorted(plan.shards[0].counts.tolist()))
    # 10 + 6 of the second; then its other 4, and the third beside the first's decode.
    assert counts == [[6, 10], [1, 4, 10], [1, 1]]
    harness.drain()


def test_a_row_with_one_token_left_comes_before_chunks() -> None:
    harness = Harness(Setup(budget=5, max_num_seqs=4))
    harness.add(prompt(6), 3)
    harness.add(prompt(9, 3), 3)
    harness.turn()
    plan = harness.turn()
    assert plan is not None
    assert plan.shards[0].counts.tolist() == [1, 4]
    assert plan.shards[0].samples.tolist() == [True, False]
    harness.drain()


def test_rows_stay_fixed_and_the_null_row_is_never_used() -> None:
    harness = Harness(Setup())
    tracked = [harness.add(prompt(5, i), 6 + 3 * i) for i in range(6)]
    seen: dict[str, set[int]] = {}
    while harness.scheduler.has_work():
        plan = harness.scheduler.schedule()
        assert plan is not None
        for row, name in zip(plan.shards[0].rows.tolist(), names(plan), strict=True):
            seen.setdefault(name, set()).add(row)
        n = len(plan.shards[0].rows)
        answer = ShardResult(
            np.full((n, 1), 5, np.int32), plan.shards[0].samples.astype(np.int32), np.ones(n, np.bool_)
        )
        harness.scheduler.commit(plan, StepResult((answer,)))
    assert len(seen) == len(tracked)
    assert all(len(rows) == 1 and 0 not in rows for rows in seen.values())


# --- order ---


def test_first_come_first_served() -> None:
    harness = Harness(Setup(max_num_seqs=1))
    tracked = [harness.add(prompt(6, i), 3, priority=-i) for i in range(4)]
    ended = []
    while harness.scheduler.has_work():
        harness.turn()
        ended += [t for t in tracked if t.request.finish_reason and t not in ended]
    assert ended == tracked


def test_priority_comes_before_arrival() -> None:
    harness = Harness(Setup(max_num_seqs=1, policy="priority"))
    low = harness.add(prompt(6), 3, priority=5)
    early, late = (
        harness.add(prompt(6, 2), 3, priority=1, arrival=2.0),
        harness.add(prompt(6, 3), 3, arrival=9.0, priority=1),
    )
    high = harness.add(prompt(6, 4), 3, priority=-1)
    earlier = harness.add(prompt(6, 5), 3, priority=1, arrival=1.0)
    ended: list[Tracked] = []
    while harness.scheduler.has_work():
        harness.turn()
        ended += [t for t in harness.tracked.values() if t.request.finish_reason and t not in ended]
    assert ended == [high, earlier, early, late, low]


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_the_last_in_rank_is_preempted_and_ends_with_the_same_tokens(policy: str) -> None:
    harness = Harness(Setup(num_pages=12, policy=policy, caching=False))
    first = harness.add(prompt(15, 1), 20, priority=3)
    second = harness.add(prompt(15, 2), 20, priority=1)
    harness.drain()
    victim, other = (second, first) if policy == "fcfs" else (first, second)
    assert victim.request.num_preemptions > 0
    assert other.request.num_preemptions == 0
    assert "preempted" in [name for name, _ in victim.request.events]
    assert harness.scheduler.stats().num_preemptions == victim.request.num_preemptions


def test_nobody_is_admitted_in_the_step_of_a_preemption() -> None:
    """Its pages were freed for those that run; a newcomer would take them first, whatever its priority."""
    harness = Harness(Setup(num_pages=12, policy="priority", caching=False))
    harness.add(prompt(15, 1), 20, priority=3)
    harness.add(prompt(15, 2), 20, priority=1)
    while not harness.scheduler.stats().num_preemptions:
        harness.add(prompt(3), 1, priority=0)
        plan = harness.turn()
        assert plan is not None
    assert not plan.shards[0].admissions
    harness.drain()


def test_nobody_starves_and_preemptions_are_bounded() -> None:
    harness = Harness(Setup(num_pages=14, max_num_seqs=4, budget=8, depth=2))
    tracked = [harness.add(prompt(3 + i % 20, i), 5 + i % 17) for i in range(40)]
    harness.drain()
    assert all(t.request.finish_reason == "length" for t in tracked)
    assert max(t.request.num_preemptions for t in tracked) <= 20


# --- limits ---


def test_the_queue_is_bounded_and_a_preempted_request_returns_all_the_same() -> None:
    harness = Harness(Setup(max_num_seqs=1, capacity=2))
    harness.add(prompt(5), 4)
    harness.add(prompt(5), 4)
    with pytest.raises(QueueFullError, match="2 requests are waiting"):
        harness.add(prompt(5), 4)
    harness.turn()
    harness.add(prompt(5), 4)
    harness.drain()


def test_what_can_never_run_is_refused_with_numbers() -> None:
    harness = Harness(Setup(num_pages=9, max_model_len=64))
    with pytest.raises(RequestError, match=r"need 9 KV pages of 4 tokens, and the pool has 8"):
        harness.add(prompt(20), 14)
    harness.add(prompt(20), 13)  # the last token needs no page
    with pytest.raises(RequestError, match=r"64 tokens, which leaves no room .* maximum context length of 64"):
        harness.add(prompt(64), 1)
    with pytest.raises(RequestError, match="empty"):
        harness.add([])
    with pytest.raises(RequestError, match="no token id"):
        harness.add([3, -1])
    with pytest.raises(RequestError, match="no token id"):
        harness.add([2**40])
    harness.drain()
    assert harness.scheduler.requests == {}


def test_an_id_is_unique_while_it_lives() -> None:
    harness = Harness(Setup())
    tracked = harness.add(prompt(4), 2)
    with pytest.raises(RequestError, match="running already"):
        harness.scheduler.add(tracked.request)
    harness.drain()


def test_prompt_and_answer_fill_the_context_exactly() -> None:
    harness = Harness(Setup(max_model_len=20))
    tracked = harness.add(prompt(6), None)
    last = harness.add(prompt(19), None)
    harness.drain()
    assert (len(tracked.tokens), len(last.tokens)) == (14, 1)
    assert tracked.request.finish_reason == last.request.finish_reason == "length"


# --- accounting ---


def test_timeline_and_stats() -> None:
    harness = Harness(Setup(max_num_seqs=1))
    first, second = harness.add(prompt(6), 3), harness.add(prompt(6, 3), 3)
    stats = harness.scheduler.stats()
    assert (stats.num_running, stats.num_waiting) == (0, 2)
    harness.turn()
    stats = harness.scheduler.stats()
    assert (stats.num_running, stats.num_waiting, stats.tokens_last_step) == (1, 1, 6)
    assert stats.kv_cache_usage == pytest.approx(2 / 63)
    harness.drain()
    for tracked in (first, second):
        assert [name for name, _ in tracked.request.events] == ["queued", "scheduled", "first_token", "finished"]
        times = [time for _, time in tracked.request.events]
        assert times == sorted(times)
    assert harness.scheduler.stats().num_steps == 6


def test_plans_are_committed_once_and_in_order() -> None:
    harness = Harness(Setup(depth=3))
    harness.add(prompt(6), 9)
    plans = [harness.scheduler.schedule(), harness.scheduler.schedule()]
    assert plans[0] is not None
    assert plans[1] is not None
    answer = StepResult((ShardResult(np.full((1, 1), 5, np.int32), np.ones(1, np.int32), np.ones(1, np.bool_)),))
    with pytest.raises(InvariantError, match="not the oldest"):
        harness.scheduler.commit(plans[1], answer)
    harness.scheduler.commit(plans[0], answer)
    with pytest.raises(InvariantError, match="not the oldest"):
        harness.scheduler.commit(plans[0], answer)


def test_a_result_that_does_not_fit_its_plan_is_refused() -> None:
    harness = Harness(Setup())
    harness.add(prompt(6), 9)
    plan = harness.scheduler.schedule()
    assert plan is not None
    two = ShardResult(np.full((2, 1), 5, np.int32), np.ones(2, np.int32), np.ones(2, np.bool_))
    with pytest.raises(InvariantError, match="2 sequences answers a plan of 1"):
        harness.scheduler.commit(plan, StepResult((two,)))


def test_a_sliding_window_holds_no_more_than_it_sees() -> None:
    size, span = 4, 10
    harness = Harness(Setup(groups=cache_groups([FULL, window(span)]), num_pages=64, page_size=size, caching=False))
    harness.add(prompt(30), 30)
    held = []
    while harness.scheduler.has_work():
        plan = harness.turn()
        if plan is not None and plan.shards[0].counts[0] == 1:
            held.append(page_use(harness)[1])
    assert max(held) <= -(-span // size) + 1
    assert len(held) == 29
