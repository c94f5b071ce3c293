"""Counters of one data shard, and the snapshots that the scheduler sums from them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxpaged.scheduling.arrays import IntArray


@dataclass(slots=True)
class ShardStats:
    """Counters since start. Prefix figures are in tokens, of requests that start for the first time."""

    prefix_queries: int = 0
    prefix_hits: int = 0
    preemptions: int = 0


STEP_TOKEN_BOUNDS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


@dataclass(slots=True)
class StepTokens:
    """How many steps have computed how many tokens: counts by STEP_TOKEN_BOUNDS (inclusive, and one for more)."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(STEP_TOKEN_BOUNDS) + 1))
    total: int = 0

    def note(self, tokens: int) -> None:
        """One step."""
        self.counts[bisect_left(STEP_TOKEN_BOUNDS, tokens)] += 1
        self.total += tokens


@dataclass(slots=True)
class PageUse:
    """Pages of running requests, summed over cache groups and over the steps at which they were counted.

    logical: entries of page tables. physical: distinct pages. filled: token slots of these that hold keys and values.
    """

    logical: int = 0
    physical: int = 0
    filled: int = 0
    samples: int = 0


@dataclass(frozen=True, slots=True)
class KVStats:
    """Averages over steps since start or reset_kv_stats(), as the PagedAttention paper defines them (its section 6.3).

    logical, physical: pages that the running requests would hold if none were shared, and pages that they hold.
    saving = 1 - physical / logical. waste = 1 - filled slots / (physical * page size). 0 before anything ran.
    """

    saving: float = 0.0
    waste: float = 0.0
    logical: float = 0.0
    physical: float = 0.0


@dataclass(frozen=True, slots=True)
class SchedulerStats:
    """Gauges and counters for EngineStats. `kv_cache_usage` is the held share of the fullest cache group.

    step_tokens, total_tokens: of all steps, as StepTokens counts them.
    """

    num_running: int
    num_waiting: int
    kv_cache_usage: float
    prefix_cache_queries: int
    prefix_cache_hits: int
    num_preemptions: int
    num_steps: int
    tokens_last_step: int
    step_tokens: tuple[int, ...]
    total_tokens: int


def kv_stats(shards: Sequence[PageUse], page_size: int) -> KVStats:
    """The averages of an engine from the sums of its shards, which are counted at the same steps."""
    samples = max(max(use.samples for use in shards), 1)
    logical = sum(use.logical for use in shards)
    physical = sum(use.physical for use in shards)
    filled = sum(use.filled for use in shards)
    return KVStats(
        saving=1 - physical / logical if logical else 0.0,
        waste=1 - filled / (physical * page_size) if physical else 0.0,
        logical=logical / samples,
        physical=physical / samples,
    )


def filled_slots(pages: IntArray, fills: IntArray) -> int:
    """Slots filled in the distinct pages of `pages` [n]; `fills` [n] is how far each entry's owner has filled it."""
    order = np.lexsort((fills, pages))
    pages, fills = pages[order], fills[order]
    last = np.append(pages[1:] != pages[:-1], True)
    return int(fills[last].sum())
