"""Workloads on the real scheduler and allocator; the model is a device that answers 1 to everything."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jaxpaged.config import SchedulerLimits
from jaxpaged.kv.spec import FullAttentionSpec, cache_groups
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.plan import ShardResult, StepPlan, StepResult
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.scheduler import Scheduler
from jaxpaged.scheduling.stats import KVStats
from paper.published import KV_SLOTS, MAX_MODEL_LEN, PAGE
from paper.workload import SEED, Workload

LIVE = 128  # sequences at once, on average, where memory is not what limits them
ROWS, AMPLE_PAGES = 4096, 1 << 16


@dataclass(frozen=True)
class Capacity:
    """What fits into the paper's memory while requests wait: sequences at once, and the share of it that is live."""

    requests: float
    live: float


def make_scheduler(page: int = PAGE, pages: int = AMPLE_PAGES, *, caching: bool = False) -> Scheduler:
    config = SchedulerLimits(ROWS, max_num_batched_tokens=1 << 14, max_queued_requests=1 << 20)
    groups = cache_groups([FullAttentionSpec(1, 8)])
    scheduler = Scheduler(config, groups, [pages + 1], page, MAX_MODEL_LEN, enable_prefix_caching=caching)
    scheduler.sample_pages_every = 1
    return scheduler


_ids = itertools.count(1)


def request(prompt: list[int], answer: int) -> Request:
    return Request(next(_ids), prompt, SamplingParams(temperature=1.0, max_tokens=answer, ignore_eos=True))


def step(scheduler: Scheduler) -> None:
    """One step of the engine, if there is anything to do."""
    plan = scheduler.schedule()
    if plan is not None:
        scheduler.commit(plan, fake_answer(plan))


def fake_answer(plan: StepPlan) -> StepResult:
    (shard,) = plan.shards
    count = len(shard.rows)
    tokens = ShardResult(np.ones((count, 1), np.int32), shard.samples.astype(np.int32), np.ones(count, np.bool_))
    return StepResult((tokens,))


def drive(
    scheduler: Scheduler,
    arrivals: NDArray[np.float64],
    add: Callable[[int], None],
    after_step: Callable[[], None] = lambda: None,
) -> KVStats:
    """Add each request at its step and run to the end of the last."""
    now = added = 0
    while added < len(arrivals) or scheduler.has_work():
        while added < len(arrivals) and arrivals[added] <= now:
            add(added)
            added += 1
        step(scheduler)
        after_step()
        now += 1
    scheduler.check()
    return scheduler.kv_stats()


def replay_samples(workload: Workload, samples: int, count: int, page: int = PAGE) -> KVStats:
    """`count` requests of n = samples."""
    prompts, answers = workload.lengths(count)
    scheduler = make_scheduler(page)

    def add(index: int) -> None:
        prompt = [1] * int(prompts[index])
        first, *others = [request(prompt, int(answers[index])) for _ in range(samples)]
        scheduler.add(first, others)

    return drive(scheduler, workload.arrivals(count, LIVE, samples), add)


def replay_prefix(workload: Workload, prefix: int, count: int) -> KVStats:
    """`count` requests whose prompts begin with the same pinned tokens."""
    prompts, answers = workload.lengths(count)
    scheduler = make_scheduler(caching=True)
    shared = pin_prefix(scheduler, prefix)
    tokens = np.random.default_rng(SEED)

    def add(index: int) -> None:
        own = tokens.integers(2, 1 << 15, int(prompts[index])).tolist()
        scheduler.add(request(shared + own, int(answers[index])))

    return drive(scheduler, workload.arrivals(count, LIVE), add)


def pin_prefix(scheduler: Scheduler, prefix: int) -> list[int]:
    """Have a prefix computed and kept; the averages begin anew."""
    shared = list(range(2, 2 + prefix))
    scheduler.add(request(shared, 1))
    step(scheduler)
    scheduler.pin("prefix", request(shared, 1))
    scheduler.reset_kv_stats()
    return shared


def replay_full(workload: Workload, count: int, prefix: int = 0, *, shared: bool = True) -> Capacity:
    """As many requests as the paper's memory holds, counted from the warm-up until the queue of `count` is empty.

    Prompts begin with the same `prefix` tokens, which are held once when `shared`.
    """
    prompts, answers = workload.lengths(count)
    scheduler = make_scheduler(pages=KV_SLOTS // PAGE, caching=shared and prefix > 0)
    head = pin_prefix(scheduler, prefix) if scheduler.hasher else [1] * prefix
    tokens = np.random.default_rng(SEED)
    for index in range(count):
        own = tokens.integers(2, 1 << 15, int(prompts[index])).tolist()
        scheduler.add(request(head + own, int(answers[index])))
    running: list[int] = []
    while scheduler.stats().num_waiting:
        if len(running) == workload.warm_up:
            scheduler.reset_kv_stats()
        step(scheduler)
        running.append(scheduler.stats().num_running)
    if len(running) <= workload.warm_up:
        raise ValueError(f"a queue of {count} is empty before the warm-up ends; give more requests")
    use = scheduler.kv_stats()
    return Capacity(float(np.mean(running[workload.warm_up :])), use.physical * PAGE * (1 - use.waste) / KV_SLOTS)
