"""Saving and waste as the PagedAttention paper defines them, against a count by hand over the page tables."""

from __future__ import annotations

import pytest

from jaxpaged.kv.spec import cache_groups
from jaxpaged.scheduling.stats import KVStats
from tests.scheduling.harness import FULL, Harness, Setup, window
from tests.scheduling.test_pins import pin
from tests.scheduling.test_siblings import prompt

GROUPS = [cache_groups([FULL]), cache_groups([FULL, window(6)])]


def page_use(harness: Harness) -> tuple[int, int, int]:
    """Entries of all page tables, distinct pages, and filled slots of these."""
    logical, fills = 0, {}
    for shard in harness.scheduler.shards:
        for group, table in enumerate(shard.rows.tables):
            for row in shard.rows.active.nonzero()[0].tolist():
                for index in table[row].nonzero()[0].tolist():
                    logical += 1
                    fill = min(int(shard.rows.planned_computed[row]) - index * shard.page_size, shard.page_size)
                    page = shard.index, group, int(table[row, index])
                    fills[page] = max(fills.get(page, 0), fill, 0)
    return logical, len(fills), sum(fills.values())


def run_and_count(harness: Harness) -> KVStats:
    """Run to the end, counting after every plan before its children are forked, as the scheduler does."""
    sums, steps = [0, 0, 0], 0
    scheduler, counted = harness.scheduler, []
    for shard in scheduler.shards:
        count = shard.sample_page_use

        def note(count=count) -> None:  # type: ignore[no-untyped-def]
            if not counted:
                counted.append(page_use(harness))
            count()

        shard.sample_page_use = note  # type: ignore[method-assign]
    while scheduler.has_work():
        counted.clear()
        harness.turn()
        if counted:
            steps += 1
            sums = [total + more for total, more in zip(sums, counted[0], strict=True)]
    logical, physical, filled = sums
    slots = physical * scheduler.shards[0].page_size
    return KVStats(1 - physical / logical, 1 - filled / slots, logical / steps, physical / steps)


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("caching", [True, False])
@pytest.mark.parametrize("shards", [1, 2])
def test_against_a_count_by_hand(groups: tuple, caching: bool, shards: int) -> None:  # type: ignore[type-arg]
    setup = Setup(groups=groups, num_pages=40, max_num_seqs=6, depth=2, caching=caching, shards=shards)
    harness = Harness(setup)
    harness.scheduler.sample_pages_every = 1
    for salt in range(4):
        harness.add(prompt(9 + salt, salt), 9, samples=4)
        harness.add(prompt(13), 7)
    want = run_and_count(harness)
    got = harness.scheduler.kv_stats()
    assert got.saving == pytest.approx(want.saving)
    assert got.waste == pytest.approx(want.waste)
    assert (got.logical, got.physical) == pytest.approx((want.logical, want.physical))
    assert got.saving > 0.1
    assert 0 < got.waste < 0.5


def test_forks_that_share_a_partly_filled_page() -> None:
    """Five rows on one page of which ten slots are filled; only one of them computes more in the step."""
    harness = Harness(Setup(page_size=16, num_pages=32, max_num_seqs=5, caching=False))
    parent = harness.add(prompt(10), 8)
    harness.turn()
    for _ in range(4):
        harness.fork(parent, 9)
    (shard,) = harness.scheduler.shards
    harness.scheduler.reset_kv_stats()
    shard.sample_page_use()
    assert harness.scheduler.kv_stats() == KVStats(saving=1 - 1 / 5, waste=1 - 10 / 16, logical=5, physical=1)
    harness.drain()


def test_a_reset_begins_anew_and_a_single_sequence_is_seen_at_every_fill_of_its_page() -> None:
    harness = Harness(Setup(page_size=4, num_pages=64, max_num_seqs=1, max_model_len=200, budget=4))
    assert harness.scheduler.kv_stats() == KVStats()
    harness.add(prompt(3), 150)
    harness.drain()
    first = harness.scheduler.kv_stats()
    assert first.waste * first.physical == pytest.approx(1.5 / 4, abs=0.05)  # of the last page, half but half a slot
    harness.scheduler.reset_kv_stats()
    assert harness.scheduler.kv_stats() == KVStats()
    harness.add(prompt(4, 3), 1)
    harness.drain()
    assert harness.scheduler.kv_stats() == KVStats(saving=0.0, waste=0.0, logical=1.0, physical=1.0)


def test_pinned_pages_count_only_while_requests_use_them() -> None:
    harness = Harness(Setup(num_pages=32))
    pin(harness, "a", prompt(8))
    harness.scheduler.reset_kv_stats()
    harness.add(prompt(4, 3), 1)
    harness.add([*prompt(8), 1, 1, 1, 1], 1)
    while harness.scheduler.has_work():
        harness.turn()
    assert harness.scheduler.kv_stats() == KVStats(saving=0.0, waste=0.0, logical=4.0, physical=4.0)
