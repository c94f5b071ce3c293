"""What the scheduler costs per step on the host, with a model that costs nothing.

    python scripts/bench_scheduler.py [--running 256 1024 4096] [--steps 400] [--churn 0.05]

Every step a share (--churn) of the running sequences finish and as many arrive in their place. Prompts have 161 tokens
on average and answers 338 in the workload this stands for; sequences are therefore started at random places of such a
life. The prefix cache is on, and the pool is so small that every allocation evicts cached pages, as after hours of
service. Timed: schedule() and commit(), with admission, page growth and hashing of filled pages, and pack(), which
makes and checks the one array that the device is sent. Shown by themselves: what schedule() spends on admission, and
the upload, which encodes the rows of admitted requests for the device; per request also add(). With --churn 0 nobody
comes or goes, and the pool has room for what the sequences grow. Live objects are frozen as in a serving engine, so
that the garbage collector does not search them.

Other processes on the machine make this slower by half and more; `chrt -f 10` in front of it keeps them off its core.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from jaxpaged.config import SchedulerLimits
from jaxpaged.execution.batch import BatchLayout, BatchLimits, pack
from jaxpaged.execution.buckets import choose, ladder
from jaxpaged.execution.row_upload import SLOTS, AdmissionLayout
from jaxpaged.kv.spec import FullAttentionSpec, cache_groups
from jaxpaged.sampling.sampler import Sampler
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling import scheduler
from jaxpaged.scheduling.admission import admit_waiting
from jaxpaged.scheduling.plan import ShardResult, StepPlan, StepResult
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.scheduler import Scheduler

PROMPT, ANSWER, EOS, PAGE, DEPTH = 161, 338, 0, 32, 2
VOCAB = 49_152


@dataclass(frozen=True)
class Cost:
    """Microseconds per step (medians, but for the mean), and per added request. A step: schedule, commit and pack."""

    running: int
    schedule: float
    admission: float
    commit: float
    pack: float
    upload: float
    median: float
    mean: float
    add: float

    @property
    def target(self) -> float:
        return 100 + 0.3 * self.running


class Stopwatch:
    """Microseconds of the calls of some functions, by name, step by step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def begin_step(self) -> None:
        self.steps.append({})

    def of[**P, R](self, name: str, function: Callable[P, R]) -> Callable[P, R]:
        """The function, timed."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                step = self.steps[-1]
                step[name] = step.get(name, 0.0) + (time.perf_counter() - start) * 1e6

        return timed

    def parts(self, names: Sequence[str], first: int) -> np.ndarray:
        """[step, name] from step `first` on."""
        return np.array([[step.get(name, 0.0) for name in names] for step in self.steps[first:]])


class Workload:
    """Keeps `running` sequences alive; the answers are random tokens, EOS for those whose time has come."""

    def __init__(self, running: int, growth: int, seed: int = 0) -> None:
        """`growth`: by how many tokens more the sequences may grow than they do in the steady state."""
        self.random = np.random.default_rng(seed)
        pages = int(running * ((PROMPT + ANSWER / 2) * 1.25 + growth) / PAGE)
        config = SchedulerLimits(max_num_seqs=running, max_num_batched_tokens=running + 512 * 512)
        groups = cache_groups([FullAttentionSpec(8, 128)])
        self.scheduler = Scheduler(config, groups, [pages], PAGE, 2048)
        self.running = running
        width = 2048 // PAGE
        self.limits = BatchLimits(running, running + 1, 2049, VOCAB, (pages,), (width,), PAGE)
        self.layouts = {size: BatchLayout(size, self.limits) for size in ladder(config.max_num_batched_tokens)}
        self.sampler = Sampler(VOCAB)
        sampler_rows = jax.eval_shape(lambda: self.sampler.init_rows(running + 1))
        self.rows = AdmissionLayout.of((width,), sampler_rows)
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
        pack(self.layouts[choose(tuple(self.layouts), int(plan.shards[0].counts.sum()))], plan)

    def upload(self, plan: StepPlan) -> None:
        """What the runner sends of rows before their first step."""
        admissions = plan.shards[0].admissions
        for first in range(0, len(admissions), SLOTS):
            rows, _, params, lengths, seeds, pages, _, _, eos = zip(*admissions[first : first + SLOTS], strict=True)
            packed = np.zeros((1, SLOTS, self.rows.size), np.int32)
            self.rows.pack(rows, pages, self.sampler.encode_rows(params, lengths, seeds, eos), packed[0])
            self.rows.check(packed, self.limits)

    def answer(self, plan: StepPlan, ending: int) -> StepResult:
        shard = plan.shards[0]
        tokens = self.random.integers(1, VOCAB, (len(shard.rows), 1), dtype=np.int32)
        tokens[self.random.choice(len(tokens), min(ending, len(tokens)), replace=False)] = EOS
        return StepResult((ShardResult(tokens, shard.samples.astype(np.int32), np.ones(len(tokens), np.bool_)),))


def measure(running: int, steps: int, share: float) -> Cost:
    """Run a steady state of `running` sequences, and time the scheduler's part of each step."""
    churn, warm_up = round(share * running), max(60, steps // 4)
    work = Workload(running, growth=0 if churn else ANSWER + warm_up + steps)
    work.add(running, spread=True)
    gc.collect()
    gc.freeze()
    watch = Stopwatch()
    scheduler.admit_waiting = watch.of("admission", admit_waiting)
    plan_step, commit_step = watch.of("schedule", work.scheduler.schedule), watch.of("commit", work.scheduler.commit)
    pack_step, upload = watch.of("pack", work.pack), watch.of("upload", work.upload)
    for step in range(warm_up + steps):
        if step == warm_up:
            work.add_seconds, added_before = 0.0, work.count
        watch.begin_step()
        plan = plan_step()
        assert plan is not None
        work.in_flight.append(plan)
        upload(plan)
        pack_step(plan)
        if len(work.in_flight) == DEPTH:
            oldest = work.in_flight.popleft()
            commit_step(oldest, work.answer(oldest, churn))
        work.add(running - len(work.scheduler.requests))
    work.scheduler.check()
    parts = watch.parts(("schedule", "commit", "pack", "admission", "upload"), warm_up)
    total, medians = parts[:, :3].sum(axis=1), np.median(parts, axis=0)
    schedule, commit, packing, admission, uploading = medians.tolist()
    add = work.add_seconds / max(work.count - added_before, 1) * 1e6
    split = schedule, admission, commit, packing, uploading
    return Cost(running, *split, float(np.median(total)), float(total.mean()), add)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--running", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--churn", type=float, default=0.05)
    arguments = parser.parse_args()
    print(
        "| running | schedule us | of it admission | commit us | pack us | step us, median | step us, mean | ", end=""
    )
    print("target us | upload us | add us/request |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for running in arguments.running:
        cost = measure(running, arguments.steps, arguments.churn)
        print(
            f"| {cost.running} | {cost.schedule:.0f} | {cost.admission:.0f} | {cost.commit:.0f} | {cost.pack:.0f} "
            f"| {cost.median:.0f} | {cost.mean:.0f} | {cost.target:.0f} | {cost.upload:.0f} | {cost.add:.1f} |"
        )


if __name__ == "__main__":
    main()
