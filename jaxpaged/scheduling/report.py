"""The scheduler's snapshot of itself, summed from its shards."""

from __future__ import annotations

from collections.abc import Sequence

from jaxpaged.scheduling.shard import Shard
from jaxpaged.scheduling.stats import SchedulerStats, StepTokens


def scheduler_stats(
    shards: Sequence[Shard], num_live: int, num_steps: int, tokens_last_step: int, step_tokens: StepTokens
) -> SchedulerStats:
    """`num_live`: requests that run or wait. Costs a few microseconds."""
    use = [pages.num_held / (pages.num_pages - 1) for shard in shards for pages in shard.allocators]
    num_running = sum(shard.num_running for shard in shards)
    return SchedulerStats(
        num_running=num_running,
        num_waiting=num_live - num_running,
        kv_cache_usage=max(use),
        prefix_cache_queries=sum(shard.stats.prefix_queries for shard in shards),
        prefix_cache_hits=sum(shard.stats.prefix_hits for shard in shards),
        num_preemptions=sum(shard.stats.preemptions for shard in shards),
        num_steps=num_steps,
        tokens_last_step=tokens_last_step,
        step_tokens=tuple(step_tokens.counts),
        total_tokens=step_tokens.total,
    )
