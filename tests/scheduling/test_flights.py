"""Plans in flight, several tokens a step, forks, data shards, prompt_logprobs."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpaged.kv.spec import cache_groups
from tests.scheduling.harness import FULL, Harness, Setup, page_use, window
from tests.scheduling.test_scheduler import prompt

MIXED = cache_groups([FULL, window(6)])


# --- plans in flight ---


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_token_is_computed_that_max_tokens_rules_out(depth: int) -> None:
    harness = Harness(Setup(depth=depth))
    harness.add(prompt(6), 5)
    harness.drain()
    computed = sum(int(plan.shards[0].counts.sum()) for plan in harness.plans)
    assert computed == 6 + 5 - 1


@pytest.mark.parametrize("depth", [2, 3])
def test_tokens_sampled_by_plans_in_flight_stay_on_the_device(depth: int) -> None:
    harness = Harness(Setup(depth=depth))
    harness.add(prompt(6), 12)
    harness.drain()
    given = [int(plan.shards[0].host_counts.sum()) for plan in harness.plans]
    assert given[0] == 6
    assert not any(given[1:])


def test_what_runs_past_an_end_is_dropped_and_its_pages_may_be_given_away_at_once() -> None:
    harness = Harness(Setup(depth=3, num_pages=14, max_num_seqs=2))
    for i in range(12):
        harness.add(prompt(9 + i, i), 12, stop_token_ids=[1, 2, 3, 4, 5, 6])
    harness.drain()
    assert not harness.live


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("groups", [cache_groups([FULL]), MIXED])
def test_a_step_that_brings_no_token_is_repeated(depth: int, groups: tuple) -> None:  # type: ignore[type-arg]
    harness = Harness(Setup(depth=depth, groups=groups))
    tracked = [harness.add(prompt(9, i), 14) for i in range(3)]
    for turn in range(40):
        if turn % 3 == 0 and harness.live:
            harness.device.stuttering.add(harness.live[0].request.request_id)
        harness.turn()
    harness.device.stuttering.clear()
    harness.drain()
    assert all(t.tokens == t.expected for t in tracked)


# --- speculation: 0..k+1 tokens a step ---


@pytest.mark.parametrize("right", [0, 1, 2, 3])
def test_guesses_are_taken_as_far_as_they_are_right(right: int) -> None:
    harness = Harness(Setup(groups=MIXED))
    tracked = harness.add(prompt(9), 20)
    harness.turn()
    proposed = [*tracked.expected[1 : 1 + right], *[(tracked.expected[1 + right] + 1) % 24] * (3 - right)]
    harness.scheduler.propose(tracked.request.request_id, proposed)
    plan = harness.turn()
    assert plan is not None
    assert plan.shards[0].counts.tolist() == [4]
    assert plan.shards[0].draft_counts.tolist() == [3]
    assert len(tracked.tokens) == 1 + right + 1
    harness.drain()
    assert tracked.tokens == tracked.expected


def test_guessing_all_the_way_ends_at_the_same_token() -> None:
    harness = Harness(Setup(budget=8, max_num_seqs=8))
    tracked = harness.add(prompt(9), 21)
    other = harness.add(prompt(9, 4), 25)
    while harness.scheduler.has_work():
        if tracked in harness.live and tracked.tokens:
            done = len(tracked.tokens)
            harness.scheduler.propose(tracked.request.request_id, tracked.expected[done : done + 3])
        harness.turn()
    assert tracked.tokens == tracked.expected
    assert other.tokens == other.expected
    assert len(harness.plans) < 30


def test_a_stop_among_accepted_guesses_cuts_what_follows() -> None:
    harness = Harness(Setup())
    free = harness.add(prompt(9), 12)
    harness.drain()
    stop = free.expected[3]
    harness = Harness(Setup())
    tracked = harness.add(prompt(9), 12, stop_token_ids=[stop])
    harness.turn()
    if len(tracked.expected) > 1:
        harness.scheduler.propose(tracked.request.request_id, free.expected[1:5])
    harness.turn()
    assert tracked.request.finish_reason == "stop"
    assert tracked.tokens == tracked.expected


def test_a_row_with_something_in_flight_does_not_guess() -> None:
    harness = Harness(Setup(depth=2))
    tracked = harness.add(prompt(9), 20)
    harness.turn()
    harness.scheduler.propose(tracked.request.request_id, [1, 2, 3])
    plan = harness.turn()
    assert plan is not None
    assert plan.shards[0].counts.tolist() == [1]
    harness.drain()


# --- forks ---


@pytest.mark.parametrize("known", [1, 2, 3, 4])
def test_a_fork_shares_full_pages_and_copies_the_one_it_writes_to(known: int) -> None:
    harness = Harness(Setup(num_pages=64))
    parent = harness.add(prompt(6 + known), 20)
    harness.turn()
    before = page_use(harness)[0]
    child = harness.fork(parent, 20, variant=2)
    assert page_use(harness)[0] == before
    plan = harness.turn()
    assert plan is not None
    partial = (6 + known) % 4 != 0
    assert len(plan.shards[0].page_copies[0]) == int(partial)
    assert [admission.request_id for admission in plan.shards[0].admissions] == [child.request.request_id]
    harness.drain()
    assert child.tokens == child.expected


def test_many_forks_of_one_parent() -> None:
    harness = Harness(Setup(num_pages=64, max_num_seqs=8, depth=2, groups=MIXED))
    parent = harness.add(prompt(18), 14)
    for _ in range(3):
        harness.turn()
    children = [harness.fork(parent, 14 - i, variant=2 * (i % 2)) for i in range(6)]
    harness.end(parent, "abort")
    harness.drain()
    assert all(child.tokens == child.expected for child in children)
    assert harness.scheduler.kv_stats().saving >= 0


def test_a_fork_waits_when_plans_in_flight_have_let_go_of_what_it_needs() -> None:
    """Its parent is a page further on already, and the fork would begin on the page behind."""
    waited = set()
    for turns in range(2, 10):
        harness = Harness(Setup(depth=3, groups=cache_groups([window(1)]), caching=False))
        parent = harness.add(prompt(6), 20)
        for _ in range(turns):
            harness.turn()
        child = harness.fork(parent, 20)
        waited.add(harness.scheduler.stats().num_waiting)
        harness.drain()
        assert child.tokens == child.expected
    assert waited == {0, 1}


def test_without_a_free_row_a_fork_waits() -> None:
    harness = Harness(Setup(max_num_seqs=1))
    parent = harness.add(prompt(9), 8)
    harness.turn()
    child = harness.fork(parent, 12)
    assert harness.scheduler.stats().num_waiting == 1
    harness.drain()
    assert child.tokens == child.expected
    assert child.request.num_cached_tokens > 0


# --- data shards ---


def test_requests_spread_over_data_shards_and_return_to_their_prefix() -> None:
    harness = Harness(Setup(shards=2, max_num_seqs=4))
    for i in range(8):
        harness.add(prompt(9, i), 6)
    harness.turn()
    assert [len(shard.rows) for shard in harness.scheduler.shards] == [4, 4] or harness.setup.budget < 36
    harness.drain()
    homes = {}
    for i in range(8):
        tracked = harness.add(prompt(9, i), 3)
        harness.drain()
        assert tracked.request.num_cached_tokens == 8
        homes[i] = tracked.request.shard
    assert set(homes.values()) == {0, 1}


def test_a_popular_prefix_does_not_pile_all_requests_on_one_shard() -> None:
    harness = Harness(Setup(shards=2, max_num_seqs=8, budget=64, num_pages=128))
    harness.add(prompt(17), 2)
    harness.drain()
    for _ in range(8):
        harness.add(prompt(17), 20)
    harness.turn()
    loads = [len(shard.rows) for shard in harness.scheduler.shards]
    assert sum(loads) == 8
    assert max(loads) - min(loads) <= 2
    harness.drain()


def test_a_shard_without_work_takes_part_with_an_empty_plan() -> None:
    harness = Harness(Setup(shards=3, groups=MIXED))
    harness.add(prompt(9), 3)
    plan = harness.turn()
    assert plan is not None
    assert sorted(len(part.rows) for part in plan.shards) == [0, 0, 1]
    assert all(len(part.page_writes) == len(part.page_copies) == 2 for part in plan.shards)
    harness.drain()


# --- prompt_logprobs ---


@pytest.mark.parametrize("depth", [1, 2])
def test_prompt_logprobs_cover_every_position_once_within_the_head_rows(depth: int) -> None:
    harness = Harness(Setup(max_num_seqs=4, budget=16, depth=depth))
    harness.add(prompt(5), 25)
    warm = harness.add(prompt(21, 3), 2)
    harness.drain()
    harness.add(prompt(5), 25)
    asked = harness.add(prompt(21, 3), 4, prompt_logprobs=0)
    harness.drain()
    seen = [entry[1:] for entry in harness.device.prompt_positions if entry[0] == asked.request.request_id]
    assert seen == [(position, asked.request.prompt_token_ids[position + 1]) for position in range(20)]
    assert asked.request.num_cached_tokens == 0
    assert asked.tokens[:2] == warm.tokens


def test_prompt_logprobs_leave_head_rows_to_those_who_decode() -> None:
    harness = Harness(Setup(max_num_seqs=4, budget=16, num_pages=128))
    decoding = [harness.add(prompt(5, i), 30) for i in range(3)]
    for _ in range(2):
        harness.turn()
    harness.add(prompt(12, 7), 4, prompt_logprobs=0)
    for _ in range(12):
        plan = harness.turn()
        assert plan is not None
        assert plan.shards[0].num_decodes == 4  # one position of the prompt a step is all that is left
    assert all(len(t.tokens) >= 13 for t in decoding)
    harness.drain()


def test_a_preempted_prompt_with_logprobs_starts_again_and_later_ones_do_not_repeat_them() -> None:
    harness = Harness(Setup(num_pages=12, max_num_seqs=4, budget=8))
    first = harness.add(prompt(12), 24)
    asked = harness.add(prompt(9, 3), 20, prompt_logprobs=0)
    harness.drain()
    assert asked.request.num_preemptions > 0
    assert asked.tokens == asked.expected
    assert first.request.num_preemptions == 0
    seen = [entry[1] for entry in harness.device.prompt_positions if entry[0] == asked.request.request_id]
    assert sorted(set(seen)) == list(range(8))
    assert len(seen) == 8 or np.diff(seen).min() < 0
