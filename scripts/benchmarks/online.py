"""Streams against the engines' servers: throughput and latency by the number of clients and by length."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.engines import LLAMA, OURS, VLLM
from benchmarks.rounds import Cell, Figures
from benchmarks.served import Running, Served
from benchmarks.streams import measure as measure_streams
from benchmarks.workloads import alike, mixed


def server(bench: Bench) -> list[Cell]:
    """The mixed workload by so many clients at a time."""
    return by_clients(bench, bench.sizes.streams, (OURS, VLLM, LLAMA))


def growth(bench: Bench) -> list[Cell]:
    """The same by other numbers of clients, up to more than an engine's batch."""
    return by_clients(bench, bench.sizes.growth, (OURS, VLLM))


def by_clients(bench: Bench, counts: Sequence[int], names: Sequence[str]) -> list[Cell]:
    sizes, cells = bench.sizes, []
    for clients in counts:

        def measure(served: Served | Running, index: int, clients: int = clients) -> Figures:
            jobs = mixed(sizes.requests_of(clients), 1000 * index + clients, sizes.last, sizes.scale)
            return measure_streams(served.url, served.model, jobs, clients)

        cells += bench.in_turn(f"{clients} stream{'s' if clients > 1 else ''}", names, bench.fleet.server, measure)
    return cells


def prompts(bench: Bench) -> list[Cell]:
    """Time to the first token of one request by the length of its prompt."""
    cells = []
    for length in bench.sizes.prompts:

        def measure(served: Served | Running, index: int, length: int = length) -> Figures:
            jobs = alike(1, length, 2, index, bench.sizes.last)
            return {"ttft_ms": measure_streams(served.url, served.model, jobs, 1)["ttft_ms_p50"]}

        cells += bench.in_turn(f"{length} tokens", (OURS, VLLM), bench.fleet.server, measure)
    return cells
