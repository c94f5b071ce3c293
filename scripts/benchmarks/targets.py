"""What was asked for: the rows of README's table, ten at most."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.engines import HF, LLAMA, OURS, VLLM


@dataclass(frozen=True)
class Check:
    """A figure in one case. against: a peer; ours as a multiple of its. bound: at least, or at most (`most`)."""

    benchmark: str
    case: str
    figure: str
    bound: float
    against: str = ""
    most: bool = False
    engine: str = OURS

    def holds(self, value: float) -> bool:
        """At the digits that are shown."""
        shown = float(f"{value:.3g}")
        return shown <= self.bound if self.most else shown >= self.bound


@dataclass(frozen=True)
class Row:
    """unit: behind each value; " x" of those that are multiples of a peer's."""

    what: str
    unit: str
    checks: tuple[Check, ...]


def _streams(figure: str, against: str, bounds: dict[int, float], *, most: bool = False) -> tuple[Check, ...]:
    return tuple(
        Check("server", f"{count} stream{'s' if count > 1 else ''}", figure, bound, against, most)
        for count, bound in bounds.items()
    )


SAME = dict.fromkeys((1, 4, 8, 16, 64), 1.0)
ROWS = (
    Row(
        "64 requests in one call, tokens/s against vLLM's / transformers' (batches of 16)", " x",
        (
            Check("offline", "64 requests", "tok_per_s", 1.5, VLLM),
            Check("offline", "64 requests", "tok_per_s", 8.0, HF),
        ),
    ),
    Row(
        "server, tokens/s against vLLM's at 1 / 4 / 8 / 16 / 64 streams", " x",
        _streams("tok_per_s", VLLM, {1: 1.25, 4: 1.1, 8: 1.1, 16: 1.2, 64: 1.3}),
    ),
    Row(
        "the same, time to the first token (p50)", " x", _streams("ttft_ms_p50", VLLM, SAME, most=True)
    ),
    Row("the same, time between tokens (p99)", " x", _streams("itl_ms_p99", VLLM, SAME, most=True)),
    Row(
        "server, tokens/s against llama.cpp's at 1 / 16 streams", " x",
        _streams("tok_per_s", LLAMA, {1: 0.75, 16: 2.5}),
    ),
    Row(
        "6 samples / beam search of width 4 / a shared prefix, tokens/s against vLLM's", " x",
        (
            Check("sharing", "samples", "tok_per_s", 1.55, VLLM),
            Check("sharing", "beams", "tok_per_s", 9.4, VLLM),
            Check("sharing", "prefix", "tok_per_s", 2.1, VLLM),
        ),
    ),
    Row(
        "start to first answer, empty / filled compile cache", " s",
        (
            Check("start", "LLM, empty cache", "start_s", 15.0, most=True),
            Check("start", "LLM, warm", "start_s", 5.0, most=True),
        ),
    ),
    Row("memory of the idle server", " MB", (Check("start", "server, warm", "memory_mb", 600.0, most=True),)),
    Row(
        "the host's part of a step, 256 / 1,024 / 4,096 sequences, 5 % changes", " us",
        tuple(
            Check("scheduler", f"{count} sequences", "step_us", bound, most=True)
            for count, bound in ((256, 177.0), (1024, 407.0), (4096, 1329.0))
        ),
    ),
    Row(
        "greedy tokens equal to transformers' in float32", "",
        (Check("parity", "greedy tokens, float32", "equal_tokens", 48.0),),
    ),
)  # fmt: skip
