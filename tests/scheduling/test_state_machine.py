"""Scheduler, pages and prefix cache against an oracle, under random use: every token and every reason must be right."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from jaxpaged.errors import RequestError
from jaxpaged.kv.spec import cache_groups
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.request import Request
from tests.scheduling.harness import EOS, FULL, Harness, Setup, Tracked, window

GROUPS = (
    cache_groups([FULL]),
    cache_groups([FULL, window(6)]),
    cache_groups([window(5)]),
    cache_groups([FULL, window(3), window(9)]),
)
PREFIXES = ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], [1, 2, 3, 4, 9, 9, 9, 9, 1], [5])


class SchedulerMachine(RuleBasedStateMachine):
    """Small pools force eviction and preemption; short lives force reuse of rows and pages."""

    harness: Harness
    pins: int
    pinned: list[str]
    prefixes: set[str]

    @initialize(
        groups=st.sampled_from(GROUPS),
        num_pages=st.sampled_from([12, 14, 20, 60]),
        budget=st.sampled_from([4, 7, 16]),
        depth=st.integers(1, 3),
        shards=st.sampled_from([1, 1, 2]),
        policy=st.sampled_from(["fcfs", "priority"]),
        caching=st.sampled_from([True, True, True, False]),
    )
    def start(self, groups, num_pages, budget, depth, shards, policy, caching) -> None:  # type: ignore[no-untyped-def]
        self.harness = Harness(Setup(groups, num_pages, 4, 4, budget, 40, shards, depth, policy, caching=caching))
        self.pins, self.pinned, self.prefixes = 0, [], set()

    @rule(
        prefix=st.sampled_from(PREFIXES),
        cut=st.integers(1, 13),
        tail=st.lists(st.integers(0, 23), max_size=12),
        max_tokens=st.sampled_from([1, 2, 5, 12, 30, None]),
        min_tokens=st.sampled_from([0, 0, 1, 4]),
        salt=st.sampled_from([None, None, None, "a"]),
        adapter=st.sampled_from([None, None, None, "a"]),
        eos=st.sampled_from([(), (EOS,), (EOS, 7)]),
        stops=st.sampled_from([None, None, [7], [1, 2, 3, 4, 5]]),
        ignore_eos=st.booleans(),
        prompt_logprobs=st.sampled_from([None, None, None, 0]),
        variant=st.sampled_from([0, 1, 2]),
        samples=st.sampled_from([1, 1, 2, 4, 6]),
        priority=st.integers(0, 2),
    )
    def add(self, prefix, cut, tail, max_tokens, min_tokens, stops, **rest) -> None:  # type: ignore[no-untyped-def]
        least = min(min_tokens, max_tokens or min_tokens)
        with self._or_no_room():
            self.harness.add([*prefix[:cut], *tail], max_tokens, min_tokens=least, stop_token_ids=stops, **rest)

    @precondition(lambda self: self.harness.tracked)
    @rule(pick=st.randoms(use_true_random=False), tail=st.lists(st.integers(0, 23), max_size=3))
    def continue_conversation(self, pick, tail) -> None:  # type: ignore[no-untyped-def]
        earlier = pick.choice(list(self.harness.tracked.values()))
        prompt = [*earlier.request.prompt_token_ids, *earlier.tokens, *tail]
        if len(prompt) < self.harness.setup.max_model_len:
            salt, adapter = earlier.request.cache_salt, earlier.request.adapter
            with self._or_no_room():
                self.harness.add(prompt, 5, salt=salt, adapter=adapter)

    @rule(turns=st.integers(1, 12))
    def run(self, turns: int) -> None:
        for _ in range(turns):
            self.harness.turn()

    @precondition(lambda self: self.harness.in_flight)
    @rule()
    def commit_early(self) -> None:
        self.harness.commit()

    @precondition(lambda self: self.harness.live)
    @rule(pick=st.randoms(use_true_random=False), reason=st.sampled_from(["abort", "stop"]))
    def end(self, pick, reason) -> None:  # type: ignore[no-untyped-def]
        self.harness.end(self._one(pick), reason)

    @precondition(lambda self: self.harness.live)
    @rule(pick=st.randoms(use_true_random=False), more=st.integers(1, 10), variant=st.sampled_from([0, 2]))
    def fork(self, pick, more, variant) -> None:  # type: ignore[no-untyped-def]
        parent = self._one(pick)
        if len(parent.request.prompt_token_ids) + len(parent.tokens) < self.harness.setup.max_model_len - 1:
            with self._or_no_room():
                self.harness.fork(parent, len(parent.tokens) + more, variant)

    @precondition(lambda self: self.harness.live)
    @rule(pick=st.randoms(use_true_random=False))
    def break_logits(self, pick) -> None:  # type: ignore[no-untyped-def]
        self.harness.device.broken.add(self._one(pick).request.request_id)

    @precondition(lambda self: self.harness.live)
    @rule(pick=st.randoms(use_true_random=False), right=st.integers(0, 3), wrong=st.booleans())
    def propose(self, pick, right, wrong) -> None:  # type: ignore[no-untyped-def]
        tracked = self._one(pick)
        done = len(tracked.tokens)
        tokens = tracked.expected[done : done + right] + [5] * wrong
        if tokens:
            self.harness.scheduler.propose(tracked.request.request_id, tokens)

    @precondition(lambda self: self.harness.live)
    @rule(pick=st.randoms(use_true_random=False))
    def stutter(self, pick) -> None:  # type: ignore[no-untyped-def]
        self.harness.device.stuttering.add(self._one(pick).request.request_id)

    @rule()
    def reset_prefix_cache(self) -> None:
        self.harness.scheduler.reset_prefix_cache()
        self.harness.scheduler.check()

    @precondition(lambda self: any(shard.num_running for shard in self.harness.scheduler.shards))
    @rule()
    def pin(self) -> None:
        running = next(t.request for t in self.harness.live if t.request.row and t.request.status == 2)
        self.pins += 1
        self.harness.scheduler.hold(f"pin{self.pins}", running.request_id)
        self.pinned.append(f"pin{self.pins}")
        self.harness.scheduler.check()

    @precondition(lambda self: self.pinned)
    @rule()
    def unpin(self) -> None:
        self.harness.scheduler.release_hold(self.pinned.pop(0))
        self.harness.scheduler.check()

    @rule(prefix=st.sampled_from(PREFIXES), name=st.sampled_from("ab"))
    def pin_prefix(self, prefix, name) -> None:  # type: ignore[no-untyped-def]
        scheduler = self.harness.scheduler
        with suppress(RequestError):  # not computed, too much, pinned already, or in the way
            scheduler.pin(name, Request(10**6, prefix, SamplingParams()))
            self.prefixes.add(name)
        scheduler.check()

    @precondition(lambda self: self.prefixes)
    @rule()
    def unpin_prefix(self) -> None:
        self.harness.scheduler.unpin(self.prefixes.pop())
        self.harness.scheduler.check()

    def _or_no_room(self) -> AbstractContextManager[None]:
        """Beside pinned prefixes, a request may be refused."""
        return suppress(RequestError) if self.prefixes else nullcontext()

    def _one(self, pick) -> Tracked:  # type: ignore[no-untyped-def]
        return pick.choice(self.harness.live)

    def teardown(self) -> None:
        """Whatever happened: every request that is left ends with the right tokens, and no page is lost."""
        while self.pinned:
            self.unpin()
        while self.harness.scheduler.has_work():
            self.harness.turn()
        while self.prefixes:
            self.unpin_prefix()
        self.harness.drain()


TestScheduler = pytest.mark.slow(SchedulerMachine.TestCase)
TestScheduler.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
