"""What only our engine is asked: where a start and a step spend their time, and what it holds in memory."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.engines import LLAMA, OURS, VLLM
from benchmarks.errors import EngineFailed
from benchmarks.fleet import Fleet
from benchmarks.rounds import Cell, Figures
from benchmarks.worker import Worker


def steps(bench: Bench) -> list[Cell]:
    """A decoding step's parts by the number of sequences."""
    sizes, cells = bench.sizes, []
    for rows in sizes.rows:

        def measure(worker: Worker, index: int, rows: int = rows) -> Figures:
            prompt = min(161, sizes.last // 20)
            arguments = {"rows": rows, "prompt": prompt, "answer": sizes.answer, "layer": sizes.layer}
            return worker.do("step", seed=index, **arguments)

        cells += bench.in_turn(f"{rows} row{'s' if rows > 1 else ''}", (OURS,), bench.fleet.worker, measure)
    return cells


def starts(bench: Bench) -> list[Cell]:
    """From a process's start to the first answer: LLM with an empty and a filled compile cache, and the servers."""
    fleet = bench.fleet
    if not bench.sizes.starts:  # a rehearsal takes the start of the child that is there
        cell = Cell("LLM", OURS, [_parts(fleet.worker(OURS))])
        bench.done()
        return [cell]
    fleet.close()  # others must not share the machine with it
    with tempfile.TemporaryDirectory() as cache:
        cells = [_repeated(bench, "LLM, empty cache", 1, Path(cache))]
        cells += [_repeated(bench, "LLM, warm", bench.sizes.starts, Path(cache))]
    for name in fleet.found.there((OURS, VLLM, LLAMA)):
        cell = Cell("server, warm", name)
        try:
            with bench.quiet():
                cell.rounds.append(_server(fleet, name))
        except EngineFailed as error:
            cell.failed = str(error)
        bench.done()
        cells.append(cell)
    return cells


def _repeated(bench: Bench, case: str, times: int, cache: Path) -> Cell:
    cell = Cell(case, OURS)
    for _ in range(times):
        with bench.quiet():
            worker = bench.fleet.new_worker(cache)
        try:
            cell.rounds.append(_parts(worker))
        finally:
            worker.close()
        bench.done()
    return cell


def _parts(worker: Worker) -> Figures:
    return {**worker.facts["parts"], "start_s": worker.start_s}


def _server(fleet: Fleet, name: str) -> Figures:
    """Memory is looked at a moment after the first answer."""
    served = fleet.new_server(name)
    try:
        time.sleep(2)
        return {"start_s": served.start_s, "memory_mb": served.memory_mb()}
    finally:
        served.close()
