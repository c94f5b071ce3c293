"""Our own scripts, run as one runs them by hand; their figures are read off what they print."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.engines import OURS, ROOT, environment
from benchmarks.errors import EngineFailed, Skipped
from benchmarks.rounds import Cell, Figures

LIMIT = 1800.0  # seconds
KERNEL = re.compile(r"^(\w+)\s+([\d.]+) ms/layer", re.MULTILINE)
EVENTS = re.compile(r"([\d.]+) events/s")
LAG = re.compile(r"loop lag: p50 [\d.]+ ms, p99 ([\d.]+) ms")


def scheduler(bench: Bench) -> list[Cell]:
    """Microseconds of the host's part of a step, packing included."""
    with bench.quiet():
        printed = _run("bench_scheduler.py", *bench.sizes.scheduler)
    bench.done()
    return read_scheduler(printed)


def read_scheduler(printed: str) -> list[Cell]:
    """Of its Markdown table: a case for each number of sequences."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    head, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]
    names = {"schedule us": "schedule_us", "commit us": "commit_us", "pack us": "pack_us", "step us, median": "step_us"}
    columns = {names[name]: head.index(name) for name in names}
    return [
        Cell(f"{row[0]} sequences", OURS, [{name: float(row[column]) for name, column in columns.items()}])
        for row in rows
    ]


def kernels(bench: Bench) -> list[Cell]:
    """Attention of a layer."""
    with bench.quiet():
        printed = _run("bench_kernels.py", *bench.sizes.kernels)
    bench.done()
    return [Cell(case, OURS, [{"ms_per_layer": float(ms)}]) for case, ms in KERNEL.findall(printed)]


def http(bench: Bench) -> list[Cell]:
    """The HTTP server with an engine that takes no time."""
    with bench.quiet():
        printed = _run("bench_server.py", *bench.sizes.http)
    bench.done()
    rounds: list[Figures] = [{"events_per_s": float(events)} for events in EVENTS.findall(printed)]
    (lag,) = LAG.findall(printed)
    return [Cell("events", OURS, rounds), Cell("event loop", OURS, [{"lag_ms_p99": float(lag)}])]


def gpu(bench: Bench) -> list[Cell]:
    """The first of the two calls on a card; its figures stand in first.json."""
    if shutil.which("nvidia-smi") is None:
        raise Skipped("there is no NVIDIA GPU")
    out = bench.fleet.folder / "gpu"
    _run("bench_gpu.py", "first", "--out", str(out))
    bench.done()
    return [Cell(f"figures in {out}", OURS)]


def _run(script: str, *words: str) -> str:
    """What it prints. Raises EngineFailed."""
    command: Sequence[str | Path] = [sys.executable, ROOT / "scripts" / script, *words]
    try:
        run = subprocess.run(
            command, cwd=ROOT, env=environment(OURS, sys.executable), capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired as error:
        raise EngineFailed(f"{script} was not done within {LIMIT:.0f} s") from error
    if run.returncode != 0:
        raise EngineFailed(f"{script}: {(run.stderr.strip().splitlines() or ['it says nothing'])[-1][-300:]}")
    return run.stdout
