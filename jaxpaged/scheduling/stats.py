"""Counters of one data shard, and the snapshot that the scheduler sums from them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ShardStats:
    """Counters since start. Prefix figures are in tokens.

    Page use is sampled every few steps and summed over cache groups: `logical` counts table entries, `physical`
    distinct pages, `filled` their token slots that hold keys and values; `samples` is how often.
    """

    prefix_queries: int = 0
    prefix_hits: int = 0
    preemptions: int = 0
    logical_pages: int = 0
    physical_pages: int = 0
    filled_tokens: int = 0
    samples: int = 0


@dataclass(frozen=True, slots=True)
class KVStats:
    """Time averages since start: how much of the held pages is unfilled, and how much sharing saves."""

    waste: float
    saving: float
    logical_pages: float
    physical_pages: float
    filled_tokens: float


@dataclass(frozen=True, slots=True)
class SchedulerStats:
    """Gauges and counters for EngineStats. `kv_cache_usage` is the held share of the fullest cache group."""

    num_running: int
    num_waiting: int
    kv_cache_usage: float
    prefix_cache_queries: int
    prefix_cache_hits: int
    num_preemptions: int
    num_steps: int
    tokens_last_step: int


def kv_stats(shards: list[ShardStats], page_size: int) -> KVStats:
    """waste = 1 - filled / (physical * page_size), saving = 1 - physical / logical; 0 before anything ran."""
    samples = max(max(stats.samples for stats in shards), 1)
    logical = sum(stats.logical_pages for stats in shards)
    physical = sum(stats.physical_pages for stats in shards)
    filled = sum(stats.filled_tokens for stats in shards)
    return KVStats(
        waste=1 - filled / (physical * page_size) if physical else 0.0,
        saving=1 - physical / logical if logical else 0.0,
        logical_pages=logical / samples,
        physical_pages=physical / samples,
        filled_tokens=filled / samples,
    )
