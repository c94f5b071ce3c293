"""What the prefix cache gives back: equal tokens cold and warm, salts, resets, pages that are held by name."""

from __future__ import annotations

import pytest

from jaxpaged.kv.spec import cache_groups
from tests.scheduling.harness import FULL, Harness, Setup, page_use, window
from tests.scheduling.test_flights import MIXED
from tests.scheduling.test_scheduler import prompt


@pytest.mark.parametrize("groups", [cache_groups([FULL]), MIXED, cache_groups([window(6)])])
def test_cold_warm_and_evicted_give_the_same_tokens(groups: tuple) -> None:  # type: ignore[type-arg]
    harness = Harness(Setup(groups=groups, num_pages=20))
    cold = harness.add(prompt(21), 8)
    harness.drain()
    warm = harness.add(prompt(21), 8)
    longer = harness.add([*prompt(21), 4, 4, 4], 8)
    harness.drain()
    assert cold.request.num_cached_tokens == 0
    assert warm.request.num_cached_tokens == 20
    assert longer.request.num_cached_tokens == 20
    for i in range(8):
        harness.add(prompt(30, 3 + i), 3)
    harness.drain()
    again = harness.add(prompt(21), 8)
    harness.drain()
    assert again.request.num_cached_tokens < 20
    assert cold.tokens == warm.tokens == again.tokens


def test_the_end_of_a_prefix_is_evicted_before_its_beginning() -> None:
    harness = Harness(Setup(num_pages=13))
    harness.add(prompt(17), 1)
    harness.drain()  # four full pages are kept, eight are free
    harness.add(prompt(37, 5), 1)
    harness.drain()  # ten pages: two of the four had to go
    again = harness.add(prompt(17), 1)
    harness.drain()
    assert again.request.num_cached_tokens == 8


@pytest.mark.parametrize("answer", [8, 9, 10, 11])
def test_a_conversation_continues_on_the_pages_of_its_answer(answer: int) -> None:
    harness = Harness(Setup())
    first = harness.add(prompt(10), answer)
    harness.drain()
    second = harness.add([*prompt(10), *first.tokens, 1, 2], 4)
    harness.drain()
    computed = 10 + answer - 1  # the last token was sampled, never computed
    assert second.request.num_cached_tokens == computed // 4 * 4


def test_a_page_let_go_by_a_plan_in_flight_and_needed_again_means_starting_over() -> None:
    harness = Harness(Setup(groups=cache_groups([window(4)]), page_size=2, depth=3))
    tracked = harness.add(prompt(9), 30)
    for _ in range(30):
        if tracked in harness.live:
            harness.device.stuttering.add(tracked.request.request_id)
        harness.turn()
    harness.device.stuttering.clear()
    harness.drain()
    assert tracked.request.num_preemptions > 0
    assert tracked.tokens == tracked.expected


def test_salts_and_adapters_are_apart_and_their_tokens_too() -> None:
    harness = Harness(Setup(num_pages=128))
    for salt, adapter in ((None, None), ("x", None), (None, "x"), ("x", "x"), ("", None)):
        tracked = harness.add(prompt(17), 4, salt=salt, adapter=adapter)
        harness.drain()
        assert tracked.request.num_cached_tokens == 0
        again = harness.add(prompt(17), 4, salt=salt, adapter=adapter)
        harness.drain()
        assert again.request.num_cached_tokens == 16


def test_a_reset_forgets_and_what_was_running_does_not_publish_old_pages() -> None:
    harness = Harness(Setup())
    running = harness.add(prompt(17), 12)
    for _ in range(4):
        harness.turn()
    waiting = [harness.add(prompt(17), 12) for _ in range(3)]
    harness.scheduler.reset_prefix_cache()
    harness.drain()
    assert running.request.num_cached_tokens == 0
    assert waiting[0].request.num_cached_tokens == 0
    later = harness.add(prompt(17), 2)
    harness.drain()
    assert later.request.num_cached_tokens == 16  # computed anew by those that waited


def test_pages_held_by_name_outlive_their_request_and_are_found_again() -> None:
    harness = Harness(Setup(num_pages=12, max_num_seqs=2))
    tracked = harness.add(prompt(17), 8)
    harness.turn()
    harness.turn()
    harness.scheduler.hold("system prompt", tracked.request.request_id)
    harness.scheduler.check()
    for i in range(5):
        harness.add(prompt(12, 5 + i), 6)
    while harness.scheduler.has_work():
        harness.turn()
    assert page_use(harness) == [4]
    again = harness.add(prompt(17), 3)
    while harness.scheduler.has_work():
        harness.turn()
    assert again.request.num_cached_tokens == 16
    harness.scheduler.release_hold("system prompt")
    assert page_use(harness) == [0]


def test_a_preempted_request_counts_once_among_queries_and_hits() -> None:
    harness = Harness(Setup(num_pages=12))
    requests = [harness.add(prompt(15, i), 20) for i in (1, 2)]
    harness.drain()
    assert sum(tracked.request.num_preemptions for tracked in requests) > 0
    assert harness.scheduler.stats().prefix_cache_queries == 30
    assert harness.scheduler.stats().prefix_cache_hits == 0
