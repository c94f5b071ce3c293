"""A scheduler, a fake device and an oracle that knows every answer, driven as an engine drives them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxpaged.config import SchedulerLimits
from jaxpaged.kv.spec import CacheGroup, FullAttentionSpec, SlidingWindowSpec, cache_groups
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.commit import Committed
from jaxpaged.scheduling.plan import StepPlan, StepResult
from jaxpaged.scheduling.plan_wire import encode_plan
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.scheduler import Scheduler
from tests.scheduling.fake_model import LOOKS_BACK, FakeDevice, next_token

EOS = 0
FULL = FullAttentionSpec(1, 8)


def window(tokens: int) -> SlidingWindowSpec:
    return SlidingWindowSpec(1, 8, tokens)


@dataclass
class Setup:
    """Sizes of a small engine."""

    groups: tuple[CacheGroup, ...] = cache_groups([FULL])
    num_pages: int = 64
    page_size: int = 4
    max_num_seqs: int = 4
    budget: int = 16
    max_model_len: int = 64
    shards: int = 1
    depth: int = 1
    policy: str = "fcfs"
    capacity: int = 1000
    caching: bool = True


@dataclass(eq=False)
class Tracked:
    """A request and what came back for it. `expected` is the oracle's answer, `reason` why it ends."""

    request: Request
    secret: int
    expected: list[int]
    reason: tuple[str, int | None]
    tokens: list[int] = field(default_factory=list)
    ended_outside: bool = False


class Harness:
    """Each turn: schedule, run on the device at once, commit the oldest plan when `depth` are in flight; check all."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        config = SchedulerLimits(
            setup.max_num_seqs,
            setup.budget,
            setup.policy,
            setup.capacity,  # type: ignore[arg-type]
        )
        pages = [setup.num_pages] * len(setup.groups)
        self.time = 0.0
        self.scheduler = Scheduler(
            config, setup.groups, pages, setup.page_size, setup.max_model_len, setup.shards,
            enable_prefix_caching=setup.caching, clock=self.clock,
        )  # fmt: skip
        self.windows = [getattr(group.kind, "window", None) for group in setup.groups]
        self.device = FakeDevice(
            self.windows, pages, setup.page_size, setup.max_num_seqs + 1, setup.max_model_len, setup.shards
        )
        self.in_flight: deque[tuple[StepPlan, StepResult]] = deque()
        self.tracked: dict[int, Tracked] = {}
        self.plans: list[StepPlan] = []
        self.count = 0

    def clock(self) -> float:
        self.time += 1.0
        return self.time

    # --- requests ---

    def add(
        self, prompt: Sequence[int], max_tokens: int | None = 8, *, priority: int = 0, salt: str | None = None,
        adapter: str | None = None, variant: int = 0, eos: tuple[int, ...] = (), arrival: float = 0.0, samples: int = 1,
        **params: object,
    ) -> Tracked:  # fmt: skip
        """The first of `samples` samples of a prompt; each of the others, tracked after it, ends a token sooner."""
        least = max(params.get("min_tokens", 0), 1)  # type: ignore[call-overload]
        requests = [
            Request(
                self.count + index + 1,
                list(prompt),
                SamplingParams(max_tokens=max_tokens and max(max_tokens - index, least), **params),  # type: ignore[arg-type]
                eos_token_ids=eos,
                arrival=arrival,
                priority=priority,
                cache_salt=salt,
                adapter=adapter,
                variant=variant,
            )
            for index in range(samples)
        ]
        for child in requests[1:]:
            child.params.prompt_logprobs = None
        secret = hash((salt, adapter))
        first = self._track(requests[0], list(prompt), secret, lambda: self.scheduler.add(requests[0], requests[1:]))
        for child in requests[1:]:
            self._track(child, list(prompt), secret, lambda: None)
        return first

    def samples_of(self, first: Tracked, count: int) -> list[Tracked]:
        """All that were added with `first`."""
        number = first.request.request_id
        return [self.tracked[number + index] for index in range(count)]

    def fork(self, parent: Tracked, max_tokens: int, variant: int = 0) -> Tracked:
        request = Request(self.count + 1, [], SamplingParams(max_tokens=max_tokens), variant=variant)
        tokens = parent.request.prompt_token_ids + parent.tokens
        request.prompt_token_ids = parent.request.prompt_token_ids
        tracked = self._track(
            request, tokens, parent.secret, lambda: self.scheduler.fork(parent.request.request_id, request)
        )
        tracked.tokens = list(parent.tokens)
        return tracked

    def _track(self, request: Request, known: list[int], secret: int, submit) -> Tracked:  # type: ignore[no-untyped-def]
        self.count += 1
        submit()
        if request.variant >= LOOKS_BACK:
            self.device.looks_back.add(request.request_id)
        self.device.secrets[request.request_id] = secret
        expected, reason = self._oracle(request, known, secret)
        tracked = Tracked(request, secret, expected, reason)
        self.tracked[request.request_id] = tracked
        self.scheduler.check()
        return tracked

    def _oracle(self, request: Request, known: list[int], secret: int) -> tuple[list[int], tuple[str, int | None]]:
        """What the request answers and why it ends, from its definition alone."""
        params, tokens, first = request.params, list(known), len(request.prompt_token_ids)
        looks_back = request.variant >= LOOKS_BACK
        while True:
            token = next_token(tokens, secret, self.windows, looks_back)
            tokens.append(token)
            made = len(tokens) - first
            if made >= params.min_tokens:
                if token in request.eos_token_ids and not params.ignore_eos:
                    return tokens[first:], ("stop", None)
                if token in (params.stop_token_ids or ()):
                    return tokens[first:], ("stop", token)
            if made == params.max_tokens or len(tokens) == self.setup.max_model_len:
                return tokens[first:], ("length", None)

    def end(self, tracked: Tracked, reason: str) -> None:
        tracked.ended_outside = True
        self.scheduler.finish(tracked.request.request_id, reason)
        self.scheduler.check()

    @property
    def live(self) -> list[Tracked]:
        return [self.tracked[name] for name in self.scheduler.requests]

    # --- steps ---

    def turn(self) -> StepPlan | None:
        """One turn of the engine; returns the plan that it started, if any."""
        plan = self.scheduler.schedule()
        self.scheduler.check()
        if plan is not None:
            self._check_plan(plan)
            self.plans.append(plan)
            self.in_flight.append((plan, self.device.run(encode_plan(plan))))
        if self.in_flight and (plan is None or len(self.in_flight) >= self.setup.depth):
            self.commit()
        return plan

    def commit(self) -> Committed:
        plan, result = self.in_flight.popleft()
        committed = self.scheduler.commit(plan, result)
        self.scheduler.check()
        for commit in committed.shards:
            for name, tokens, count in zip(
                commit.request_ids, commit.tokens.tolist(), commit.num_tokens.tolist(), strict=True
            ):
                self._take(name, tokens[:count])
            for position, request in zip(commit.ended.tolist(), commit.finished, strict=True):
                assert commit.request_ids[position] == request.request_id
                assert (request.finish_reason == "error") == (commit.num_tokens[position] == 0)
                self._check_end(request)
        return committed

    def _take(self, name: int, tokens: list[int]) -> None:
        tracked = self.tracked[name]
        tracked.tokens += tokens
        assert tracked.tokens == tracked.expected[: len(tracked.tokens)], name

    def drain(self, limit: int = 5000) -> None:
        """Run until nothing is left; every page must be free or idle then."""
        for _ in range(limit):
            if not self.scheduler.has_work():
                break
            self.turn()
        assert not self.scheduler.has_work(), "requests starve"
        for shard in self.scheduler.shards:
            assert all(allocator.available == allocator.num_pages - 1 for allocator in shard.allocators)
            assert shard.num_running == 0

    def _check_plan(self, plan: StepPlan) -> None:
        setup = self.setup
        for part, shard in zip(plan.shards, self.scheduler.shards, strict=True):
            owners = [shard.rows.request(row).request_id for row in part.rows.tolist()]
            assert part.request_ids.tolist() == owners
            assert part.counts.sum() <= setup.budget
            assert part.samples.sum() + part.draft_counts.sum() + len(part.prompt_logprob_rows) <= setup.max_num_seqs
            assert len(set(part.rows.tolist())) == len(part.rows)
            assert (part.counts[: part.num_decodes] == 1).all()
            assert (part.counts[part.num_decodes :] > 1).all()
            for writes in part.page_writes:
                assert len(writes) <= part.counts.sum() // setup.page_size + 2 * len(part.rows)

    def _check_end(self, request: Request) -> None:
        tracked = self.tracked[request.request_id]
        assert request.events[-1][0] == "finished"
        if request.finish_reason == "error":
            assert request.request_id in self.device.broken
            return
        assert (request.finish_reason, request.stop_reason) == tracked.reason
        assert tracked.tokens == tracked.expected


def page_use(harness: Harness) -> list[int]:
    """Held pages per cache group of the first shard."""
    return [allocator.num_held for allocator in harness.scheduler.shards[0].allocators]


def rows_of(plan: StepPlan) -> np.ndarray:
    return plan.shards[0].rows
