"""Every benchmark, in the order in which they share processes."""

from __future__ import annotations

from benchmarks.bench import Benchmark
from benchmarks.engines import HF, LLAMA, OURS, VLLM
from benchmarks.inside import starts, steps
from benchmarks.offline import offline, parity, sharing
from benchmarks.online import growth, prompts, server
from benchmarks.own_scripts import gpu, http, kernels, scheduler

ALL = (OURS, VLLM, LLAMA, HF)
BENCHMARKS = (
    Benchmark("parity", "outputs equal the reference's", parity, (OURS,), lambda _: 1, "worker", once=True),
    Benchmark("offline", "64 requests in one call", offline, (OURS, VLLM, HF), lambda _: 1, "worker"),
    Benchmark("sharing", "samples, beams, a shared prefix", sharing, (OURS, VLLM), lambda _: 3, "worker"),
    Benchmark("step", "a decoding step by part", steps, (OURS,), lambda sizes: len(sizes.rows), "worker"),
    Benchmark(
        "start", "from start to first answer, by part", starts, (OURS,), lambda s: s.starts + 2, "worker", once=True
    ),
    Benchmark("server", "streams", server, (OURS, VLLM, LLAMA), lambda sizes: len(sizes.streams), "server"),
    Benchmark("prompts", "first token by length", prompts, (OURS, VLLM), lambda s: len(s.prompts), "server"),
    Benchmark("growth", "more streams", growth, (OURS, VLLM), lambda s: len(s.growth), "server", once=True),
    Benchmark("scheduler", "the host's part of a step", scheduler, (OURS,), lambda _: 1, once=True),
    Benchmark("kernels", "attention alone", kernels, (OURS,), lambda _: 1, once=True),
    Benchmark("http", "the server alone", http, (OURS,), lambda _: 1, once=True),
    Benchmark("gpu", "kernels and engine on a GPU", gpu, (OURS,), lambda _: 1, once=True),
)
