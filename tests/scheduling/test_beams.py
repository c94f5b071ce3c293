"""Beams under the scheduler alone: whatever is chosen, each computes on pages of its own tokens, and all come back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from jaxpaged.errors import QueueFullError, RequestError
from jaxpaged.kv.spec import cache_groups
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling import beams
from jaxpaged.scheduling.request import BeamGroup, Request
from tests.scheduling.fake_model import VOCAB, next_token
from tests.scheduling.harness import FULL, Harness, Setup, page_use, window

GROUPS = [cache_groups([FULL]), cache_groups([FULL, window(6)]), cache_groups([window(5)])]


@dataclass(eq=False)
class Search:
    """A group, the true tokens of each of its beams, and how many choices are left."""

    group: BeamGroup
    tokens: dict[str, list[int]]
    choices_left: int
    longest: int


class BeamHarness(Harness):
    """Chooses among beams at random, as soon as all have answered."""

    def __init__(self, setup: Setup, seed: int = 0) -> None:
        super().__init__(setup)
        self.rng = np.random.default_rng(seed)
        self.searches: dict[int, Search] = {}
        self.num_choices = 0

    def add_beams(self, prompt: list[int], width: int, max_tokens: int, *, choices: int = 10**6) -> Search:
        requests = [
            Request(self.count + i + 1, list(prompt), SamplingParams(max_tokens=max_tokens, ignore_eos=True), variant=3)
            for i in range(width)
        ]
        self.count += width
        group = self.scheduler.add_beams(requests)
        search = Search(group, {requests[0].request_id: list(prompt)}, choices, len(prompt) + group.most_tokens)
        self.searches |= {request.request_id: search for request in requests}
        self.device.secrets |= {request.request_id: hash((None, None)) for request in requests}
        self.scheduler.check()
        return search

    def _take(self, name: int, tokens: list[int]) -> None:
        if name not in self.searches:
            return super()._take(name, tokens)
        true = self.searches[name].tokens[name]
        assert tokens == [next_token(true, self.device.secrets[name], self.windows, False)]
        return None

    def _check_end(self, request: Request) -> None:
        if request.request_id in self.searches:
            assert request.finish_reason == "length"
        else:
            super()._check_end(request)

    def commit(self):  # type: ignore[no-untyped-def]
        committed = super().commit()
        for search in set(self.searches.values()):
            if self.scheduler.beams_sampled(search.group):
                self.choose(search)
                self.scheduler.check()
        return committed

    def choose(self, search: Search) -> None:
        group = search.group
        if group.num_tokens + 1 == search.longest or not search.choices_left:
            return self.end_search(search)
        search.choices_left -= 1
        self.num_choices += 1
        live = len(search.tokens)
        favoured = self.rng.random(live) ** 3
        parents = self.rng.choice(live, len(group.members), p=favoured / favoured.sum()).tolist()
        tokens = self.rng.choice(VOCAB, len(parents), replace=False).tolist()
        choices = list(zip(parents, tokens, strict=True))
        true = [[*search.tokens[group.members[parent].request_id], token] for parent, token in choices]
        self.scheduler.choose_beams(group, choices)
        search.tokens = {member.request_id: line for member, line in zip(group.members, true, strict=True)}
        return None

    def end_search(self, search: Search) -> None:
        self.scheduler.end_beams(search.group, "stop")
        for member in search.group.members:
            assert member.request_id not in self.scheduler.requests
            self.searches.pop(member.request_id)


def prompt(length: int, salt: int = 1) -> list[int]:
    return [(salt * 7 + 5 * i) % VOCAB for i in range(length)]


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 4, 7, 21])
def test_every_length_and_kind_of_cache(groups: tuple, depth: int, length: int) -> None:  # type: ignore[type-arg]
    for width in (1, 2, 5):
        harness = BeamHarness(Setup(groups=groups, num_pages=64, max_num_seqs=5, depth=depth, budget=6, caching=False))
        harness.add_beams(prompt(length), width, 9)
        harness.drain()
        assert harness.num_choices == 8
        assert sum(int(plan.shards[0].counts.sum()) for plan in harness.plans) == length + 8 * width


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_any_choices_preemptions_and_aborts(seed: int) -> None:
    """A property test: the fake device's tokens are hashes of all that a beam's pages hold."""
    rng = np.random.default_rng(seed)
    setup = Setup(
        groups=GROUPS[seed % 3],
        num_pages=int(rng.integers(20, 40)),
        max_num_seqs=int(rng.integers(4, 10)),
        depth=int(rng.integers(1, 4)),
        budget=int(rng.integers(10, 24)),
        caching=bool(rng.integers(2)),
        shards=int(rng.integers(1, 3)),
        policy=("fcfs", "priority")[int(rng.integers(2))],
    )
    harness = BeamHarness(setup, seed)
    refused = 0
    for _ in range(120):
        event = rng.random()
        try:
            if event < 0.12:
                width, longest = int(rng.integers(1, 5)), int(rng.integers(2, 14))
                most = int(rng.integers(1, 14))
                harness.add_beams(prompt(int(rng.integers(1, 25)), seed), width, longest, choices=most)
            elif event < 0.3:
                harness.add(prompt(int(rng.integers(1, 30)), seed + 1), int(rng.integers(1, 10)))
            elif event < 0.35 and harness.searches:
                harness.end_search(next(iter(harness.searches.values())))
                harness.scheduler.check()
            elif event < 0.37:
                harness.scheduler.reset_prefix_cache()
        except RequestError:
            refused += 1
        harness.turn()
    harness.drain()
    assert harness.num_choices > 5
    assert not harness.searches
    assert refused < 10


def test_some_of_those_are_preempted() -> None:
    harness = BeamHarness(Setup(num_pages=18, max_num_seqs=8, depth=2, budget=16, caching=False))
    for salt in range(3):
        harness.add_beams(prompt(6, salt), 4, 12)
    harness.drain()
    assert harness.scheduler.stats().num_preemptions > 0
    assert harness.num_choices == 3 * 11


def test_the_prompt_stays_shared_by_beams_that_were_preempted() -> None:
    """When a group comes back, its first beam computes what all have in common, and the others fork that."""
    harness = BeamHarness(Setup(num_pages=40, max_num_seqs=4, depth=1, budget=64, caching=False))
    search = harness.add_beams(prompt(22), 4, 12)
    while search.group.num_tokens < 26:
        harness.turn()
    (shard,) = harness.scheduler.shards
    before = len(harness.plans)
    parent = _preempted(harness, search)
    assert page_use(harness) == [0]
    assert parent.children
    while not all(member.row for member in search.group.members):
        harness.turn()
    shared = {tuple(shard.rows.tables[0][member.row, :5].tolist()) for member in search.group.members}
    assert len(shared) == 1
    computed = sum(int(plan.shards[0].counts.sum()) for plan in harness.plans[before:])
    assert computed < 2 * 26
    harness.drain()


def test_a_group_may_be_preempted_while_some_of_its_beams_wait_for_the_others() -> None:
    """Catching up in small steps they answer one after another; what they answered is asked again."""
    harness = BeamHarness(Setup(num_pages=60, max_num_seqs=4, depth=1, budget=5, caching=False))
    search = harness.add_beams(prompt(6), 4, 16)
    (shard,) = harness.scheduler.shards
    while search.group.num_tokens < 16:
        harness.turn()
    _preempted(harness, search)
    members, known = search.group.members, shard.rows.num_tokens
    while not any(member.row and known[member.row] > search.group.num_tokens for member in members):
        harness.turn()
    assert not harness.scheduler.beams_sampled(search.group)
    _preempted(harness, search)
    assert page_use(harness) == [0]
    harness.drain()
    assert harness.num_choices == 15


def _preempted(harness: BeamHarness, search: Search) -> Request:
    parent = beams.preempt(harness.scheduler.shards[0], search.group, harness.clock())
    harness.scheduler._live.put_back([parent])
    harness.scheduler.check()
    return parent


def test_refusals_queue_nothing() -> None:
    harness = BeamHarness(Setup(num_pages=10, max_num_seqs=4, caching=False, capacity=1))
    for width, longest, says in ((5, 2, "beam_width is 5, and 4"), (4, 20, "4 beams of .* and the pool has 9")):
        with pytest.raises(RequestError, match=says):
            harness.add_beams(prompt(5), width, longest)
        harness.scheduler.check()
        assert not harness.scheduler.requests
    harness.add(prompt(5), 2)
    with pytest.raises(QueueFullError):
        harness.add_beams(prompt(5), 2, 2)
    harness.drain()
