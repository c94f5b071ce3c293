"""Workloads through an LLM in the engine's own process: throughput, and what is shared among sequences."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.engines import HF, OURS, VLLM
from benchmarks.errors import EngineFailed, Skipped
from benchmarks.reference import recorded
from benchmarks.rounds import Cell, Figures
from benchmarks.worker import Worker

BATCH = 16  # of transformers' generate


def offline(bench: Bench) -> list[Cell]:
    """The mixed workload, in one call."""
    sizes = bench.sizes

    def started(name: str) -> tuple[Worker, dict[str, int]]:
        more = {"requests": sizes.generate_requests, "batch": BATCH} if name == HF else {"requests": sizes.requests}
        return bench.fleet.worker(name), more

    def measure(process: tuple[Worker, dict[str, int]], index: int) -> Figures:
        worker, arguments = process
        return worker.do("offline", scale=sizes.scale, seed=index, **arguments)

    return bench.in_turn(f"{sizes.requests} requests", (OURS, VLLM, HF), started, measure)


def sharing(bench: Bench) -> list[Cell]:
    """n samples, beam search, a shared prefix."""
    sizes = bench.sizes
    tasks = {"samples": sizes.samples, "beams": sizes.beams, "prefix": sizes.prefix}
    cells = []
    for task, arguments in tasks.items():

        def measure(worker: Worker, index: int, task: str = task, arguments: dict[str, int] = arguments) -> Figures:
            return worker.do(task, seed=index + 1, **arguments)

        cells += bench.in_turn(task, (OURS, VLLM), bench.fleet.worker, measure)
    return cells


def parity(bench: Bench) -> list[Cell]:
    """Our greedy tokens in float32, together and alone, against transformers' or the recorded ones."""
    asked, fleet = bench.sizes.greedy, bench.fleet
    reference = recorded(fleet.model, asked)
    if fleet.found.there((HF,)) and fleet.model is not None:
        reference = fleet.worker(HF).do("greedy", **asked)["tokens"]
    if reference is None:
        raise Skipped("no tokens are recorded for this model, and transformers is left out")
    ours = fleet.worker(OURS, "float32").do("greedy", **asked)
    cell = Cell("greedy tokens, float32", OURS)
    for kind in ("tokens", "alone"):
        if ours[kind] != reference:
            raise EngineFailed(f"our tokens are not the reference's ({kind}): {ours[kind]} instead of {reference}")
    cell.rounds.append({"equal_tokens": float(sum(map(len, reference)))})
    bench.done()
    return [cell]
