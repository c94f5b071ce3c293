"""Samples of one prompt: computed once, its pages forked, and every sample on its own from then on."""

from __future__ import annotations

import pytest

from jaxpaged.errors import QueueFullError, RequestError
from jaxpaged.kv.spec import cache_groups
from tests.scheduling.harness import FULL, Harness, Setup, Tracked, page_use, window

GROUPS = [cache_groups([FULL]), cache_groups([FULL, window(6)]), cache_groups([window(5)])]


def prompt(length: int, salt: int = 1) -> list[int]:
    return [(salt * 7 + 5 * i) % 24 for i in range(length)]


def computed_tokens(harness: Harness) -> int:
    return sum(int(part.counts.sum()) for plan in harness.plans for part in plan.shards)


def forked(harness: Harness, length: int, samples: int, max_tokens: int = 8) -> list[Tracked]:
    """Samples of a prompt whose last plan has just been made: all have rows, nothing else was scheduled."""
    first = harness.add(prompt(length), max_tokens, samples=samples)
    tracked = harness.samples_of(first, samples)
    while not all(sample.request.row for sample in tracked):
        assert harness.turn() is not None
    return tracked


def test_one_page_holds_all_samples_of_ten_tokens_which_were_computed_once() -> None:
    harness = Harness(Setup(page_size=16, num_pages=32, max_num_seqs=6, caching=False))
    samples = forked(harness, 10, 6)
    assert page_use(harness) == [1]
    assert computed_tokens(harness) == 10
    plan = harness.turn()
    assert plan is not None
    assert plan.shards[0].counts.tolist() == [1] * 6
    assert len(plan.shards[0].page_copies[0]) == 5  # the last to write keeps the page
    assert page_use(harness) == [6]
    harness.drain()
    assert all(sample.tokens == sample.expected for sample in samples)
    # Each sample computes its tokens but the last; the children one more, the last of the prompt.
    assert computed_tokens(harness) == 10 + sum(len(sample.tokens) - 1 for sample in samples) + 5


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 9, 21])
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("depth", [1, 2])
def test_every_length_and_kind_of_cache(length: int, groups: tuple, depth: int) -> None:  # type: ignore[type-arg]
    for max_tokens in (1, 5):
        harness = Harness(Setup(groups=groups, num_pages=64, max_num_seqs=5, depth=depth, budget=6, caching=False))
        first = harness.add(prompt(length), max_tokens, samples=4)
        samples = harness.samples_of(first, 4)
        harness.drain()
        assert all(sample.tokens == sample.expected for sample in samples)
        assert sum(int(part.counts.sum()) for plan in harness.plans for part in plan.shards) == (
            length + 3 + sum(len(sample.tokens) - 1 for sample in samples)
        )


def test_full_pages_stay_shared() -> None:
    harness = Harness(Setup(num_pages=64, max_num_seqs=4, caching=False, budget=32))
    forked(harness, 21, 4, max_tokens=12)
    harness.turn()
    assert page_use(harness) == [5 + 4]
    harness.drain()


@pytest.mark.parametrize("victims", [[0], [1], [3], [0, 1], [1, 2, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("after", range(8))
def test_an_ended_sample_takes_only_its_own_pages(victims: list[int], after: int) -> None:
    """Queued, in the middle of the prompt, forked or decoding."""
    harness = Harness(Setup(num_pages=64, max_num_seqs=4, budget=6, depth=2, caching=False))
    running = harness.add(prompt(5, 3), 3)
    first = harness.add(prompt(21), 9, samples=4)
    samples = harness.samples_of(first, 4)
    for _ in range(after):
        harness.turn()
    for victim in victims:
        harness.end(samples[victim], "abort")
    harness.drain()
    for index, sample in enumerate(samples):
        assert sample.tokens == sample.expected or index in victims
    assert running.tokens == running.expected


@pytest.mark.parametrize("broken", [0, 2])
def test_a_sample_that_fails_leaves_the_others_alone(broken: int) -> None:
    harness = Harness(Setup(num_pages=64, caching=False))
    samples = harness.samples_of(harness.add(prompt(10), 6, samples=4), 4)
    harness.device.broken.add(samples[broken].request.request_id)
    harness.drain()
    assert [sample.request.finish_reason for sample in samples].count("error") == 1
    assert all(sample.tokens == sample.expected for i, sample in enumerate(samples) if i != broken)


@pytest.mark.parametrize("caching", [True, False])
@pytest.mark.parametrize("depth", [1, 3])
def test_preempted_samples_give_the_same_tokens(caching: bool, depth: int) -> None:
    harness = Harness(Setup(num_pages=14, max_num_seqs=6, depth=depth, caching=caching))
    samples = harness.samples_of(harness.add(prompt(10), 24, samples=6), 6)
    other = harness.add(prompt(7, 3), 20)
    harness.drain()
    assert harness.scheduler.stats().num_preemptions > 0
    assert all(sample.tokens == sample.expected for sample in [*samples, other])


def test_a_leader_preempted_in_its_prompt_takes_its_siblings_along() -> None:
    """By an older request whose pages the parent's were reserved from, as a full pool allows while others leave."""
    harness = Harness(Setup(num_pages=14, max_num_seqs=6, budget=6, caching=False))
    older = [harness.add(prompt(4, salt), 16) for salt in (5, 7)]
    for _ in range(3):
        harness.turn()
    samples = harness.samples_of(harness.add(prompt(25), 3, samples=3), 3)
    while not samples[0].request.num_preemptions:
        assert harness.turn() is not None
    assert [sample.request.row for sample in samples] == [0, 0, 0]
    assert [sample.request.num_preemptions for sample in samples] == [1, 0, 0]
    harness.drain()
    assert all(sample.tokens == sample.expected for sample in [*older, *samples])


@pytest.mark.parametrize("samples", [5, 9])
def test_more_samples_than_rows_wait_for_the_first(samples: int) -> None:
    harness = Harness(Setup(num_pages=64, max_num_seqs=4))
    tracked = harness.samples_of(harness.add(prompt(10), 6, samples=samples), samples)
    later = harness.add(prompt(6, 3), 4)
    harness.turn()
    assert harness.scheduler.stats().num_waiting == samples - 4 + 1
    harness.drain()
    assert all(sample.tokens == sample.expected for sample in [*tracked, later])


def test_rows_are_kept_for_siblings_so_that_all_share() -> None:
    """Without that, the first samples would take all the rows, and the others would compute the prompt again."""
    harness = Harness(Setup(num_pages=200, max_num_seqs=8, budget=8, caching=False))
    groups = [harness.samples_of(harness.add(prompt(10, salt), 6, samples=3), 3) for salt in range(6)]
    harness.drain()
    generated = sum(len(sample.tokens) - 1 for group in groups for sample in group)
    assert computed_tokens(harness) == 6 * (10 + 2) + generated


def test_rows_are_kept_while_the_prompt_is_in_the_middle() -> None:
    harness = Harness(Setup(num_pages=64, max_num_seqs=4, budget=6, caching=False))
    samples = harness.samples_of(harness.add(prompt(13), 6, samples=3), 3)
    harness.turn()
    others = [harness.add(prompt(2, salt), 9) for salt in range(3)]
    harness.drain()
    single = sum(2 + len(other.tokens) - 1 for other in others)
    assert computed_tokens(harness) - single == 13 + 2 + sum(len(sample.tokens) - 1 for sample in samples)


def test_a_family_starts_when_there_are_pages_for_all_its_samples() -> None:
    harness = Harness(Setup(num_pages=10, max_num_seqs=8, budget=64, caching=False))
    running = harness.add(prompt(10, 3), 5)
    harness.turn()
    samples = harness.samples_of(harness.add(prompt(10), 2, samples=6), 6)
    harness.drain()
    assert harness.scheduler.stats().num_preemptions == 0
    assert all(sample.tokens == sample.expected for sample in [running, *samples])


def test_the_pages_of_siblings_are_not_given_away_before_they_start() -> None:
    harness = Harness(Setup(num_pages=11, max_num_seqs=8, budget=10, caching=False))
    samples = harness.samples_of(harness.add(prompt(14), 2, samples=6), 6)
    harness.turn()
    later = harness.add(prompt(9, 3), 3)
    harness.drain()
    assert harness.scheduler.stats().num_preemptions == 0
    assert all(sample.tokens == sample.expected for sample in [later, *samples])


def test_samples_count_towards_the_load_of_a_shard() -> None:
    harness = Harness(Setup(num_pages=64, max_num_seqs=8, shards=2, budget=64))
    harness.add(prompt(10), 6, samples=6)
    for salt in range(3):
        harness.add(prompt(5, salt + 2), 6)
    harness.turn()
    assert sorted(len(shard.rows) for shard in harness.scheduler.shards) == [3, 6]
    harness.drain()


def test_siblings_run_on_the_shard_of_their_leader() -> None:
    harness = Harness(Setup(num_pages=64, max_num_seqs=4, shards=2, caching=False))
    groups = [harness.samples_of(harness.add(prompt(10, salt), 6, samples=4), 4) for salt in range(3)]
    harness.turn()
    homes = [{sample.request.shard for sample in group} for group in groups[:2]]
    assert sorted(map(list, homes)) == [[0], [1]]
    harness.drain()
    assert all(sample.tokens == sample.expected for group in groups for sample in group)
    generated = sum(len(sample.tokens) - 1 for group in groups for sample in group)
    assert computed_tokens(harness) == 3 * (10 + 3) + generated


def test_refusals_queue_nothing() -> None:
    harness = Harness(Setup(num_pages=5, capacity=1))
    with pytest.raises(RequestError, match="need 6 KV pages of 4 tokens, and the pool has 4"):
        harness.add(prompt(10), 12, samples=4)
    assert not harness.scheduler.has_work()
    first = harness.add(prompt(6), 4, samples=4)
    with pytest.raises(QueueFullError):
        harness.add(prompt(6), 4, samples=2)
    harness.drain()
    assert all(sample.tokens == sample.expected for sample in harness.samples_of(first, 4))


def test_prompt_logprobs_are_computed_once() -> None:
    harness = Harness(Setup(num_pages=64, max_num_seqs=4))
    harness.add(prompt(9), 5, samples=4, prompt_logprobs=0)
    harness.drain()
    assert [entry[1] for entry in harness.device.prompt_positions] == list(range(8))
