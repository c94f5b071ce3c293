"""What a front end counts, and how Prometheus sees it: vLLM's names ("vllm:...") and a few of our own ("jaxpaged:...").

Counting is done with plain integers and lists, because it happens for every token; prometheus-client turns them into
text when somebody asks. The labels are the model's name and the finish reason, so the output has a fixed size.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from jaxpaged.config import CacheConfig
from jaxpaged.engine.messages import EngineInfo, EngineOutput, EngineStats
from jaxpaged.frontend.cache_labels import cache_labels
from jaxpaged.frontend.input_processor import PreparedRequest
from jaxpaged.outputs import RequestOutput
from jaxpaged.scheduling.stats import STEP_TOKEN_BOUNDS

FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")
_LATENCY = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0)
_LATENCY_LONG = (960.0, 1920.0, 7680.0)
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0)
_FIRST_TOKEN_LONG = (80.0, 160.0, 640.0, 2560.0)
_BETWEEN_TOKENS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0)
_SLEEP_STATES = {None: "awake", 1: "weights_offloaded", 2: "discard_all"}  # by the level of sleep
_N = (1, 2, 5, 10, 20)


class Histogram:
    """Counts per bucket; `bounds` are inclusive upper bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = list(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as the text format has them."""
        running = 0
        pairs: list[tuple[str, float]] = []
        for bound, count in zip([*map(float, self.bounds), float("inf")], self.counts, strict=True):
            running += count
            pairs.append(("+Inf" if bound == float("inf") else str(bound), running))
        return pairs


@dataclass(slots=True)
class _Sequence:
    arrival: float
    prompt_tokens: int
    last_token: float = 0.0


@dataclass(slots=True)
class _Histograms:
    """By name; the name is the field's, with vLLM's prefix."""

    request_prompt_tokens: Histogram
    request_prefill_kv_computed_tokens: Histogram
    request_generation_tokens: Histogram
    request_max_num_generation_tokens: Histogram
    request_params_max_tokens: Histogram
    request_params_n: Histogram = field(default_factory=lambda: Histogram(_N))
    request_num_preemptions: Histogram = field(default_factory=lambda: Histogram((0, *_N)))
    time_to_first_token_seconds: Histogram = field(default_factory=lambda: Histogram(_FIRST_TOKEN + _FIRST_TOKEN_LONG))
    inter_token_latency_seconds: Histogram = field(default_factory=lambda: Histogram((*_BETWEEN_TOKENS, 80.0)))
    request_time_per_output_token_seconds: Histogram = field(
        default_factory=lambda: Histogram((*_BETWEEN_TOKENS, 80.0))
    )
    e2e_request_latency_seconds: Histogram = field(default_factory=lambda: Histogram(_LATENCY + _LATENCY_LONG))
    request_queue_time_seconds: Histogram = field(default_factory=lambda: Histogram(_LATENCY + _LATENCY_LONG))
    request_inference_time_seconds: Histogram = field(default_factory=lambda: Histogram(_LATENCY + _LATENCY_LONG))
    request_prefill_time_seconds: Histogram = field(default_factory=lambda: Histogram(_LATENCY + _LATENCY_LONG))
    request_decode_time_seconds: Histogram = field(default_factory=lambda: Histogram(_LATENCY + _LATENCY_LONG))


class EngineMetrics:
    """Counts of one engine as its front end sees them. `stats` gives the engine's own, current ones."""

    def __init__(
        self, info: EngineInfo, model_name: str, stats: Callable[[], EngineStats], cache: CacheConfig | None = None
    ) -> None:
        tokens = _one_two_five(info.max_model_len)
        self.histograms = _Histograms(*(Histogram(tokens) for _ in range(5)))
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.generation_tokens = 0
        self.rejected = 0
        self.engine_up = 1
        self.engine_restarts = 0
        self.finished = dict.fromkeys(FINISH_REASONS, 0)
        self._cache_labels = cache_labels(cache or CacheConfig(), info)
        self._stats = stats
        self._labels = {"model_name": model_name, "engine": "0"}
        self._sequences: dict[int, _Sequence] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Exposition(self))

    def note_added(self, prepared: PreparedRequest) -> None:
        """A request goes to the engine. The prompt of its n sequences counts once."""
        self.histograms.request_params_n.observe(len(prepared.samples))
        for index, child in enumerate(prepared.samples):
            prompt_tokens = 0 if index else len(prepared.prompt_token_ids)
            self._sequences[child.request_id] = _Sequence(child.arrival, prompt_tokens)

    def note_step(self, outputs: Sequence[EngineOutput], stats: EngineStats, now: float) -> None:
        """One batch of the engine, at `now` on the monotonic clock."""
        between = self.histograms.inter_token_latency_seconds
        for output in outputs:
            sequence = self._sequences.get(output.request_id)
            if sequence is None or not output.new_token_ids:
                continue
            self.generation_tokens += len(output.new_token_ids)
            if sequence.last_token:
                between.observe(now - sequence.last_token)
            else:
                self.histograms.time_to_first_token_seconds.observe(now - sequence.arrival)
                self.prompt_tokens += sequence.prompt_tokens
                self.cached_tokens += min(output.num_cached_tokens, sequence.prompt_tokens)
            sequence.last_token = now

    def note_finished(
        self, prepared: PreparedRequest, output: RequestOutput | None, now: float, reason: str = "abort"
    ) -> None:
        """A request has ended. `output` is its last one; None when it was given up, for one of FINISH_REASONS."""
        for child in prepared.samples:
            self._sequences.pop(child.request_id, None)
        if output is None or output.metrics is None:
            self.finished[reason] += len(prepared.samples)
            return
        for completion in output.outputs:
            if completion.finish_reason in self.finished:
                self.finished[completion.finish_reason] += 1
        self._note_lengths(prepared, output.metrics.num_generation_tokens)
        computed = len(prepared.prompt_token_ids) - (output.num_cached_tokens or 0)
        self.histograms.request_prefill_kv_computed_tokens.observe(computed)
        metrics, seen = output.metrics, self.histograms
        seen.request_num_preemptions.observe(metrics.num_preemptions)
        seen.e2e_request_latency_seconds.observe(now - prepared.samples[0].arrival)
        if metrics.scheduled_ts and metrics.first_token_ts:
            seen.request_queue_time_seconds.observe(metrics.scheduled_ts - metrics.queued_ts)
            seen.request_prefill_time_seconds.observe(metrics.first_token_ts - metrics.scheduled_ts)
            seen.request_decode_time_seconds.observe(metrics.last_token_ts - metrics.first_token_ts)
            seen.request_inference_time_seconds.observe(metrics.last_token_ts - metrics.scheduled_ts)
        if metrics.num_generation_tokens > 1:
            seconds = metrics.last_token_ts - metrics.first_token_ts
            seen.request_time_per_output_token_seconds.observe(seconds / (metrics.num_generation_tokens - 1))

    def _note_lengths(self, prepared: PreparedRequest, generated: int) -> None:
        self.histograms.request_prompt_tokens.observe(len(prepared.prompt_token_ids))
        self.histograms.request_generation_tokens.observe(generated)
        self.histograms.request_max_num_generation_tokens.observe(generated)
        self.histograms.request_params_max_tokens.observe(prepared.params.max_tokens or 0)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def families(self) -> Iterator[Metric]:
        """Everything, as Prometheus takes it."""
        stats = self._stats()
        yield from self._gauges(stats)
        yield from self._counters(stats)
        for name in _Histograms.__slots__:
            yield _histogram(f"vllm:{name}", self._labels, getattr(self.histograms, name))
        yield _histogram("vllm:iteration_tokens_total", self._labels, _step_tokens(stats))

    def _gauges(self, stats: EngineStats) -> Iterator[Metric]:
        labels = self._labels
        yield _gauge("vllm:num_requests_running", "Requests in the running batch.", labels, stats.num_running)
        yield _gauge("vllm:num_requests_waiting", "Requests in the queue.", labels, stats.num_waiting)
        by_reason = labels | {"reason": "capacity"}
        yield _gauge("vllm:num_requests_waiting_by_reason", "Requests in the queue.", by_reason, stats.num_waiting)
        yield _gauge("vllm:kv_cache_usage_perc", "Share of the KV pages in use, 0 to 1.", labels, stats.kv_cache_usage)
        yield _gauge("vllm:cache_config_info", "What start-up decided.", labels | self._cache_labels, 1)
        states = [
            (labels | {"sleep_state": state}, level == stats.sleep_level) for level, state in _SLEEP_STATES.items()
        ]
        yield _gauges("vllm:engine_sleep_state", "1 for the state that the engine is in.", states)
        yield _gauge("jaxpaged:last_step_age_seconds", "Time without progress.", labels, stats.last_step_age)
        yield _gauge("jaxpaged:engine_up", "1 while the engine process runs.", labels, self.engine_up)
        for name, what, average in (
            ("jaxpaged:kv_saving", "Share of the KV pages that sharing saves, averaged since start.", stats.kv.saving),
            ("jaxpaged:kv_waste", "Share of the held KV slots that is unfilled, averaged since start.", stats.kv.waste),
            ("jaxpaged:kv_logical_pages", "KV pages that running requests would hold unshared.", stats.kv.logical),
            ("jaxpaged:kv_physical_pages", "KV pages that running requests hold, averaged.", stats.kv.physical),
        ):
            yield _gauge(name, what, labels, average)

    def _counters(self, stats: EngineStats) -> Iterator[Metric]:
        labels = self._labels
        for name, what, value in (
            ("vllm:prefix_cache_queries", "Tokens looked up in the prefix cache.", stats.prefix_cache_queries),
            ("vllm:prefix_cache_hits", "Tokens found in the prefix cache.", stats.prefix_cache_hits),
            ("vllm:num_preemptions", "Requests set back to the queue.", stats.num_preemptions),
            ("vllm:prompt_tokens", "Prompt tokens processed.", self.prompt_tokens),
            ("vllm:prompt_tokens_cached", "Prompt tokens taken from the prefix cache.", self.cached_tokens),
            ("vllm:generation_tokens", "Tokens generated.", self.generation_tokens),
            ("jaxpaged:engine_restarts", "Engines that have been started after one died.", self.engine_restarts),
            ("jaxpaged:engine_steps", "Steps of the engine.", stats.num_steps),
            ("jaxpaged:compiles_after_ready", "Programs compiled while serving.", stats.compiles_after_ready),
        ):
            yield _counter(name, what, [(labels, value)])
        yield from self._labelled_counters()

    def _labelled_counters(self) -> Iterator[Metric]:
        labels = self._labels
        sources = {"local_compute": self.prompt_tokens - self.cached_tokens, "local_cache_hit": self.cached_tokens}
        yield _counter(
            "vllm:prompt_tokens_by_source",
            "Prompt tokens processed, by where they came from.",
            [(labels | {"source": source}, count) for source, count in {**sources, "external_kv_transfer": 0}.items()],
        )
        yield _counter(
            "vllm:request_success",
            "Completions that have ended, by reason.",
            [(labels | {"finished_reason": reason}, count) for reason, count in self.finished.items()],
        )
        queue_full = {"model_name": labels["model_name"], "reason": "max_num_queued_reqs"}
        yield _counter("vllm:admission_rejections", "Requests refused by a full queue.", [(queue_full, self.rejected)])


class _Exposition(Collector):
    def __init__(self, metrics: EngineMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.families()


def _gauge(name: str, what: str, labels: dict[str, str], value: float) -> Metric:
    return _gauges(name, what, [(labels, value)])


def _gauges(name: str, what: str, samples: Sequence[tuple[dict[str, str], float]]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=list(samples[0][0]))
    for labels, value in samples:
        family.add_metric(list(labels.values()), value)
    return family


def _counter(name: str, what: str, samples: Sequence[tuple[dict[str, str], float]]) -> Metric:
    family = CounterMetricFamily(name, what, labels=list(samples[0][0]))
    for labels, value in samples:
        family.add_metric(list(labels.values()), value)
    return family


def _histogram(name: str, labels: dict[str, str], histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(name, f"Histogram of {name.partition(':')[2]}.", labels=list(labels))
    family.add_metric(list(labels.values()), histogram.buckets(), sum_value=histogram.total)
    return family


def _step_tokens(stats: EngineStats) -> Histogram:
    """The engine counts its steps itself: several may lie between two of its messages."""
    histogram = Histogram(STEP_TOKEN_BOUNDS)
    if stats.step_tokens:
        histogram.counts, histogram.total = list(stats.step_tokens), stats.total_tokens
    return histogram


def _one_two_five(most: int) -> list[float]:
    """1, 2, 5, 10, 20, 50, ... up to `most`."""
    bounds = [mantissa * 10**exponent for exponent in range(len(str(most))) for mantissa in (1, 2, 5)]
    return [float(bound) for bound in bounds if bound <= most]
