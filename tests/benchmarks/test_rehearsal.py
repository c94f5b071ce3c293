"""scripts/bench_all --quick from end to end: the bundled model, no peers, and one benchmark that fails."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engines import ROOT
from benchmarks.listing import BENCHMARKS

LEFT_OUT = {"kernels", "http"}  # scripts with tests of their own
FAILING = "growth"
SPOILED = f"""
import runpy, sys
from benchmarks import online, listing
import dataclasses
def spoiled(bench):
    raise OSError("told to fail")
listing.BENCHMARKS = tuple(
    dataclasses.replace(one, run=spoiled) if one.name == {FAILING!r} else one for one in listing.BENCHMARKS
)
sys.argv = sys.argv[1:]
runpy.run_module("benchmarks", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any], Path, str]:
    """Exit status, figures, their folder and what was printed."""
    out = tmp_path_factory.mktemp("bench") / "out"
    words = [word for one in BENCHMARKS if one.name not in LEFT_OUT for word in ("--only", one.name)]
    command = [sys.executable, "-c", SPOILED, "bench_all", "--quick", "--rounds", "2", "--out", str(out), *words]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'scripts'}{os.pathsep}{ROOT}"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    printed = run.stdout + run.stderr
    assert (out / "results.json").exists(), printed[-3000:]
    return run.returncode, json.loads((out / "results.json").read_text()), out, printed


def test_one_that_fails_is_a_row_with_its_reason_and_the_others_have_their_figures(rehearsal) -> None:
    code, figures, _, printed = rehearsal
    found = {name: entry["status"] for name, entry in figures["benchmarks"].items()}
    wanted = {one.name: "ok" for one in BENCHMARKS if one.name not in LEFT_OUT}
    gpu = found.pop("gpu")
    assert gpu in ("ok", "skipped")
    assert found | {"gpu": "ok"} == wanted | {FAILING: "failed"}, printed[-3000:]
    assert figures["benchmarks"][FAILING]["why"] == "OSError: told to fail"
    assert code == 1


def test_peers_that_are_not_there_are_named_with_what_installs_them(rehearsal) -> None:
    _, figures, _, printed = rehearsal
    for name in ("vLLM", "llama.cpp", "transformers"):
        (line,) = [line for line in printed.splitlines() if line.startswith(f"{name} is left out")]
        assert "pip install" in line
        assert figures["missing"][name] == line


def test_every_figure_is_there_and_makes_sense(rehearsal) -> None:
    _, figures, _, _ = rehearsal
    cells = {
        (name, cell["case"]): cell["figures"] for name, one in figures["benchmarks"].items() for cell in one["cells"]
    }
    assert cells["parity", "greedy tokens, float32"]["equal_tokens"] == 12
    assert cells["offline", "4 requests"]["tok_per_s"] > 0
    assert {case for name, case in cells if name == "sharing"} == {"samples", "beams", "prefix"}
    for case in ("1 stream", "4 streams"):
        served = cells["server", case]
        assert 0 < served["ttft_ms_p50"] <= served["ttft_ms_p99"]
        assert 0 < served["itl_ms_p50"] <= served["itl_ms_p99"]
    step = dict(cells["step", "1 row"])
    whole = step.pop("step")
    assert set(step) == {"attention", "layers", "logits", "sample", "host"}
    assert all(ms >= 0 for ms in step.values())
    assert whole > 0
    start = dict(cells["start", "LLM"])
    assert sum(value for part, value in start.items() if part != "start_s") == pytest.approx(start["start_s"], rel=0.25)
    assert cells["prompts", "64 tokens"]["ttft_ms"] > 0
    assert cells["scheduler", "8 sequences"]["step_us"] > 0


def test_tables_and_plots_are_written(rehearsal) -> None:
    _, _, out, printed = rehearsal
    names = {path.name for path in out.iterdir()}
    assert names == {"results.json", "results.md", "streams.png", "step.png", "start.png", "growth.png"}
    assert all(path.stat().st_size > 5_000 for path in out.glob("*.png"))
    assert "| 1 stream | jaxpaged |" in (out / "results.md").read_text()
    assert re.search(r"server: streams: 100%.*4/4", printed)  # the progress bar
