"""The host plans the next step while the device computes: a step costs the slower of the two, not their sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxpaged.config import SchedulerLimits
from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import EngineInfo, EngineRequest
from jaxpaged.kv.spec import FullAttentionSpec, cache_groups
from jaxpaged.sampling.sampler import Sampled
from jaxpaged.scheduling.plan import StepPlan
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.scheduler import Scheduler
from tests.engine.drive import ask, run

DEVICE, HOST = 10, 5  # ticks a step
STEPS = 100


@dataclass
class Clock:
    """Time that passes only where somebody works or waits."""

    now: int = 0

    def wait_until(self, then: int) -> None:
        self.now = max(self.now, then)


@dataclass
class FakePending:
    device: FakeRunner
    plan: StepPlan
    done_at: int

    def wait(self) -> Sampled:
        self.device.log.append(("wait", self.plan.step))
        self.device.clock.wait_until(self.done_at)
        rows = max(len(shard.rows) for shard in self.plan.shards)
        shape = len(self.plan.shards), rows
        return Sampled(np.ones(shape, np.int32), np.ones(shape, np.bool_), np.zeros(shape, np.bool_), None)  # type: ignore[arg-type]


@dataclass
class FakeRunner:
    """A device that takes DEVICE ticks for each plan, one after the other."""

    clock: Clock
    free_at: int = 0
    log: list[tuple[str, int]] = field(default_factory=list)

    def submit(self, plan: StepPlan) -> FakePending:
        self.log.append(("submit", plan.step))
        self.free_at = max(self.free_at, self.clock.now) + DEVICE
        return FakePending(self, plan, self.free_at)

    def update_weights(self, weights: Mapping[str, Any]) -> None:
        raise AssertionError

    def sleep(self, level: int) -> None:
        raise AssertionError

    def wake_up(self) -> None:
        raise AssertionError


class SlowScheduler(Scheduler):
    """Planning takes HOST ticks."""

    clock: Clock

    def schedule(self) -> StepPlan | None:
        self.clock.now += HOST
        return super().schedule()


def engine(depth: int, clock: Clock) -> Engine:
    info = EngineInfo("fake", 256, 131, 64, 16, 4, 16, "fake", 0.0, "")
    groups = cache_groups([FullAttentionSpec(1, 8)])
    scheduler = SlowScheduler(SchedulerLimits(4, 16), groups, [64], 16, 256)
    scheduler.clock = clock
    return Engine(info, scheduler, FakeRunner(clock), to_request, depth)


def to_request(message: EngineRequest) -> Request:
    return Request(message.request_id, message.prompt_token_ids, message.params)


def ticks(depth: int) -> int:
    clock = Clock()
    fake = engine(depth, clock)
    fake.add(ask("a", [1, 2, 3], max_tokens=STEPS))
    while fake.has_work():
        fake.step()
    assert fake.stats().num_steps == STEPS
    return clock.now


def test_a_hundred_steps_cost_the_device_time() -> None:
    """All planning but the first step's is hidden; without overlap nothing is."""
    assert STEPS * DEVICE <= ticks(depth=2) <= STEPS * DEVICE + 2 * HOST
    assert ticks(depth=1) >= STEPS * (DEVICE + HOST)


def test_the_next_plan_is_submitted_before_the_last_is_waited_for() -> None:
    for depth in (1, 2, 3):
        fake = engine(depth, Clock())
        run(fake, [ask("a", [1, 2, 3], max_tokens=12)])
        runner: Any = fake.runner
        for step in range(1, 12 - depth + 2):
            ahead = runner.log.index(("submit", step + depth - 1))
            assert ahead < runner.log.index(("wait", step)), (depth, step)
        if depth == 1:
            assert runner.log[:4] == [("submit", 1), ("wait", 1), ("submit", 2), ("wait", 2)]
