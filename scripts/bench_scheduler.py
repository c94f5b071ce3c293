"""What the scheduler costs per step on the host, with a model that costs nothing.

    python scripts/bench_scheduler.py [--running 256 1024 4096] [--steps 400] [--churn 0.05]

Every step a share (--churn) of the running sequences finish and as many arrive in their place. Prompts have 161 tokens
on average and answers 338 in the workload this stands for; sequences are therefore started at random places of such a
life. The prefix cache is on, and the pool is so small that every allocation evicts cached pages, as after hours of
service. Timed: schedule() and commit(), with admission, page growth and hashing of filled pages, and pack(), which
makes and checks the one array that the device is sent. add() is shown by itself, per request.

Other processes on the machine make this slower by half and more; `chrt -f 10` in front of it keeps them off its core.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from jaxpaged.config import SchedulerLimits
from jaxpaged.execution.batch import BatchLayout, BatchLimits, pack
from jaxpaged.execution.buckets import choose, ladder
from jaxpaged.kv.spec import FullAttentionSpec, cache_groups
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.plan import ShardResult, StepPlan, StepResult
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.scheduler import Scheduler

PROMPT, ANSWER, EOS, PAGE, DEPTH = 161, 338, 0, 32, 2
VOCAB = 49_152


@dataclass(frozen=True)
class Cost:
    """Microseconds per step (median, mean) and per added request."""

    running: int
    schedule: float
    commit: float
    pack: float
    median: float
    mean: float
    add: float

    @property
    def target(self) -> float:
        return 100 + 0.3 * self.running


class Workload:
    """Keeps `running` sequences alive; the answers are random tokens, EOS for those whose time has come."""

    def __init__(self, running: int, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        pages = int(running * (PROMPT + ANSWER / 2) / PAGE * 1.25)
        config = SchedulerLimits(max_num_seqs=running, max_num_batched_tokens=running + 512 * 512)
        groups = cache_groups([FullAttentionSpec(8, 128)])
        self.scheduler = Scheduler(config, groups, [pages], PAGE, 2048)
        self.running = running
        width = 2048 // PAGE
        self.limits = BatchLimits(running, running + 1, 2049, VOCAB, (pages,), (width,), PAGE)
        self.buckets = ladder(config.max_num_batched_tokens)
        self.count = 0
        self.params = SamplingParams(max_tokens=1024)
        self.in_flight: deque[StepPlan] = deque()
        self.add_seconds = 0.0

    def add(self, count: int, spread: bool = False) -> None:
        """New requests; with `spread`, the prompt is longer by a random part of an answer, as if half way through."""
        for _ in range(count):
            length = int(self.random.integers(PROMPT // 2, PROMPT + PROMPT // 2 + 1))
            if spread:
                length += int(self.random.integers(0, ANSWER))
            tokens = self.random.integers(1, VOCAB, length).tolist()
            self.count += 1
            request = Request(self.count, tokens, self.params, (EOS,), arrival=time.monotonic())
            start = time.perf_counter()
            self.scheduler.add(request)
            self.add_seconds += time.perf_counter() - start

    def pack(self, plan: StepPlan) -> None:
        tokens = choose(self.buckets, int(plan.shards[0].counts.sum()))
        pack(BatchLayout(tokens, self.limits), plan)

    def answer(self, plan: StepPlan, ending: int) -> StepResult:
        shard = plan.shards[0]
        tokens = self.random.integers(1, VOCAB, (len(shard.rows), 1), dtype=np.int32)
        tokens[self.random.choice(len(tokens), min(ending, len(tokens)), replace=False)] = EOS
        return StepResult((ShardResult(tokens, shard.samples.astype(np.int32), np.ones(len(tokens), np.bool_)),))


def measure(running: int, steps: int, share: float) -> Cost:
    """Run a steady state of `running` sequences, and time the scheduler's part of each step."""
    work = Workload(running)
    work.add(running, spread=True)
    churn = round(share * running)
    schedule, commit, packing, added_before = [], [], [], 0
    warm_up = max(60, steps // 4)
    for step in range(warm_up + steps):
        if step == warm_up:
            work.add_seconds, added_before = 0.0, work.count
        start = time.perf_counter()
        plan = work.scheduler.schedule()
        schedule.append(time.perf_counter() - start)
        assert plan is not None
        work.in_flight.append(plan)
        start = time.perf_counter()
        work.pack(plan)
        packing.append(time.perf_counter() - start)
        commit.append(0.0)
        if len(work.in_flight) == DEPTH:
            oldest = work.in_flight.popleft()
            result = work.answer(oldest, churn)
            start = time.perf_counter()
            committed = work.scheduler.commit(oldest, result)
            commit[-1] = time.perf_counter() - start
            del committed  # an engine turns it into outputs first, so freeing the requests in it is not timed
        work.add(running - len(work.scheduler.requests))
    added = work.count - added_before
    parts = np.array([schedule[warm_up:], commit[warm_up:], packing[warm_up:]]) * 1e6
    total = parts.sum(axis=0)
    work.scheduler.check()
    medians = np.median(parts, axis=1)
    return Cost(running, *medians, float(np.median(total)), float(total.mean()), work.add_seconds / added * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--running", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--churn", type=float, default=0.05)
    arguments = parser.parse_args()
    print(
        "| running | schedule us | commit us | pack us | step us, median | step us, mean | target us | add us/request |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for running in arguments.running:
        cost = measure(running, arguments.steps, arguments.churn)
        print(
            f"| {cost.running} | {cost.schedule:.0f} | {cost.commit:.0f} | {cost.pack:.0f} | {cost.median:.0f} "
            f"| {cost.mean:.0f} | {cost.target:.0f} | {cost.add:.1f} |"
        )


if __name__ == "__main__":
    main()
