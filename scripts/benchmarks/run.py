"""One benchmark after the other: whatever becomes of one, the others' figures come out."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence

from tqdm import tqdm

from benchmarks.bench import Bench, Benchmark
from benchmarks.errors import Skipped
from benchmarks.fleet import Fleet
from benchmarks.results import Results
from benchmarks.rounds import Cell

MISMATCH = "our tokens are not the reference's: see parity"


def run_all(benchmarks: Sequence[Benchmark], fleet: Fleet, rounds: int, hush: Sequence[str], results: Results) -> int:
    """0 when all went well. After a failed parity nothing else is measured."""
    statuses: dict[str, str] = {}
    uses = ""
    try:
        for benchmark in benchmarks:
            if benchmark.uses != uses:
                fleet.close()
                uses = benchmark.uses
            if statuses.get("parity") == "failed":
                results.add(benchmark.name, "skipped", MISMATCH, 0.0, [])
                continue
            statuses[benchmark.name] = _run(benchmark, fleet, rounds, hush, results)
    finally:
        fleet.close()
    return 1 if "failed" in statuses.values() else 0


def _run(benchmark: Benchmark, fleet: Fleet, rounds: int, hush: Sequence[str], results: Results) -> str:
    rounds = 1 if benchmark.once else rounds
    total = benchmark.cases(fleet.sizes) * len(fleet.found.there(benchmark.engines)) * rounds
    began, why = time.monotonic(), ""
    cells: list[Cell] = []
    with tqdm(total=total, desc=f"{benchmark.name}: {benchmark.what}", unit="run") as bar:
        try:
            cells = benchmark.run(Bench(fleet.sizes, fleet, rounds, hush, bar.update))
        except Skipped as skipped:
            status, why = "skipped", str(skipped)
        except Exception as error:  # noqa: BLE001 - a row says why, and the other benchmarks must still run
            traceback.print_exc()
            status, why = "failed", f"{type(error).__name__}: {error}"[:500]
        else:
            failed = {f"{cell.engine}, {cell.case}: {cell.failed}" for cell in cells if cell.failed}
            status, why = ("failed", "; ".join(sorted(failed))[:500]) if failed else ("ok", "")
    results.add(benchmark.name, status, why, time.monotonic() - began, cells)
    print(f"{benchmark.name}: {status}{': ' + why if why else ''}", flush=True)
    return status
