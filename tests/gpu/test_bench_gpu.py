"""The engine's benchmark for a GPU, from end to end with a tiny model, where our server's packages are missing."""

import json
import subprocess
import sys
from pathlib import Path

from bench_gpu import Parts
from gpu.engine_plan import FULL, QUICK
from gpu.report import Report
from gpu.variants import thunk_counts

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("target", "start", "single", "batch", "offline", "conversations", "generate")
# The machines that a session may use have jax, flax, orbax and transformers, and none of these.
WITHOUT = (
    "fastapi",
    "gguf",
    "httptools",
    "msgspec",
    "pydantic",
    "prometheus_client",
    "sentencepiece",
    "starlette",
    "uvicorn",
    "zmq",
)
RUN = """
import runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {without}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
sys.argv = {arguments}
sys.path.insert(0, "scripts")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = RUN.format(without=WITHOUT, arguments=["scripts/bench_gpu.py", *arguments])
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)


def test_every_part_runs_in_order_and_leaves_its_figures(tmp_path: Path) -> None:
    run = bench("--quick", "--out", str(tmp_path))
    assert run.returncode == 0, run.stderr[-3000:]
    figures = json.loads((tmp_path / "engine.json").read_text())
    parts = [name for name in figures if isinstance(figures[name], dict) and name != "versions"]
    assert parts == [*PARTS, "variant: scan"]
    for name, workload in (("single", QUICK.single), ("batch", QUICK.batch)):
        assert figures[name]["steps"] >= workload.answer // 2
        assert 0 < figures[name]["median_ms"] <= figures[name]["p99_ms"]
        assert figures["variant: scan"][name]["steps"] >= workload.answer // 2
    assert figures["offline"]["mean_answer"] == QUICK.offline.answer
    assert figures["offline"]["output_tokens_per_s"] > 0
    assert figures["compiles_after_ready"] == 0


def test_a_part_that_fails_or_comes_too_late_is_noted_and_the_next_runs(tmp_path: Path) -> None:
    report = Report("a test", tmp_path / "engine.json")
    parts = Parts(report, 1000.0)
    parts.run("broken", lambda: 1 // 0)
    parts.run("whole", lambda: {"ms": 1})
    Parts(report, 0.0).run("late", lambda: 1 // 0)
    figures = json.loads((tmp_path / "engine.json").read_text())
    assert figures["broken"] == {"failed": "ZeroDivisionError: integer division or modulo by zero"}
    assert figures["whole"] == {"ms": 1}
    assert "had passed" in figures["late"]["skipped"]
    assert parts.failed == ["broken"]


def test_thunks_inside_and_outside_of_command_buffers_are_told_apart() -> None:
    text = (
        "000: kCommandBuffer      [source       | next=003 (1)] \n"
        "    001: kCustomKernel [source       | next=002 (1)] fusion grid: [1, 1, 1]\n"
        "    002: kCustomCall   [prev=001 (1) | sink        ] kCustomCall\n"
        "003: kDynamicSliceFusion [prev=000 (1) | next=005 (1)] params=8, results=2\n"
        "    004: kCustomCall [source | sink] kCustomCall\n"
        "005: kCustomCall         [prev=003 (1) | next=006 (1)] kCustomCall\n"
    )
    counts = thunk_counts(text)
    assert counts["custom_calls_in_command_buffers"] == 1
    assert counts["thunks"] == {"kCommandBuffer": 1, "kCustomKernel": 1, "kCustomCall": 3, "kDynamicSliceFusion": 1}
    assert thunk_counts("") == {}


def test_the_sizes_that_are_compiled_serve_the_workloads() -> None:
    for plan in (FULL, QUICK):
        assert plan.buckets.tokens[-1] == plan.max_num_batched_tokens
        assert plan.buckets.logit_rows[-1] == plan.buckets.samples[-1] == plan.max_num_seqs
        assert plan.buckets.tokens[:2] >= (plan.single.requests, plan.batch.requests)
        assert plan.batch.requests <= plan.buckets.tokens[1]
        for workload in (plan.single, plan.batch, plan.offline, plan.conversations):
            assert workload.prompt + workload.answer <= plan.max_model_len
