"""EngineStats under vLLM's metric names (and a few of ours), as LLM.get_metrics() returns them."""

from __future__ import annotations

from dataclasses import dataclass

from jaxpaged.engine.messages import EngineStats


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with its labels."""

    name: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Counter(Metric):
    """A count that only grows."""

    value: int


@dataclass(frozen=True, slots=True)
class Gauge(Metric):
    """A value that goes up and down."""

    value: float


def metric_snapshot(stats: EngineStats, model_name: str) -> list[Metric]:
    """Gauges and counters of one engine."""
    labels = {"model_name": model_name, "engine": "0"}
    return [
        Gauge("vllm:num_requests_running", labels, stats.num_running),
        Gauge("vllm:num_requests_waiting", labels, stats.num_waiting),
        Gauge("vllm:kv_cache_usage_perc", labels, stats.kv_cache_usage),
        Gauge("jaxpaged:kv_saving", labels, stats.kv.saving),
        Gauge("jaxpaged:kv_waste", labels, stats.kv.waste),
        Gauge("jaxpaged:kv_logical_pages", labels, stats.kv.logical),
        Gauge("jaxpaged:kv_physical_pages", labels, stats.kv.physical),
        Counter("vllm:prefix_cache_queries", labels, stats.prefix_cache_queries),
        Counter("vllm:prefix_cache_hits", labels, stats.prefix_cache_hits),
        Counter("vllm:num_preemptions", labels, stats.num_preemptions),
    ]
