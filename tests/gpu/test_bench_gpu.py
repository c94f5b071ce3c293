"""Both calls on a lent card, from end to end with tiny shapes, where our server's packages are missing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpu.engine_plan import FULL, QUICK, SMALL, plan_for
from gpu.variants import thunk_counts

GROUPS = ("ladder", "specs", "cases", "sweep", "engine", "more cases")
LAST = "mixed, all at once, metadata 8 wide"  # of the quick cases
ROOT = Path(__file__).resolve().parents[2]
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
MISSING = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {without}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
"""
RUN = """
import runpy, sys
sys.argv = {arguments}
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    assert not {{"jax", "jaxlib", "torch"}} & set(sys.modules), "the parent must not touch the card"
"""


def bench(tmp_path: Path, call: str, *arguments: str, limit: float = 880) -> tuple[int, dict[str, Any], str]:
    """Exit status, figures and what was printed. No process of it finds a package of WITHOUT."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(MISSING.format(without=WITHOUT))
    words = ["scripts/bench_gpu.py", call, "--quick", "--out", str(tmp_path / "out"), *arguments]
    command = [sys.executable, "-c", RUN.format(arguments=words)]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit)
    printed = run.stdout + run.stderr
    assert "Traceback" not in printed, printed[-3000:]
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert len(names) <= 8  # more do not come back
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)
    return run.returncode, json.loads((tmp_path / "out" / f"{call}.json").read_text()), printed


def statuses(figures: dict[str, Any], group: str) -> dict[str, str]:
    return {part: entry["status"] for part, entry in figures[group].items()}


def test_the_first_call_with_a_fault_of_each_kind(tmp_path: Path) -> None:
    rung, spec = "chunk after a prefix, bfloat16, command buffers", "gqa4_page16, float8_e4m3fn, command buffers"
    faults = (f"{rung} off=abort", f"{spec} on=wrong", f"{LAST}=hang", "blocks of 64 keys=raise", "batch=raise")
    code, figures, printed = bench(tmp_path, "first", *(word for fault in faults for word in ("--fault", fault)))
    assert code == 1
    assert statuses(figures, "ladder") == {f"{rung} off": "abort", f"{rung} on": "ok"}
    assert statuses(figures, "specs") == {f"{spec} on": "wrong"}
    assert figures["way"]["way"] == "xla"
    assert statuses(figures, "cases") == {"ceilings": "ok", "decode 3 x 128": "ok", LAST: "hang"}
    assert statuses(figures, "sweep")["kernels of decode 64 x 1k"] == "skipped"
    assert figures["sweep"]["blocks of 64 keys"]["why"] == "RuntimeError: told to raise"
    engine = {"start": "ok", "target": "skipped", "single": "ok", "batch": "raise", "offline": "ok"}
    assert statuses(figures, "engine") == engine | {"compiles_after_ready": "ok"}
    assert "attention by xla" in figures["engine"]["start"]["report"]
    _check_the_measured(figures)
    assert f"| {spec} on | wrong (" in printed
    assert "a further call needs --way xla" in printed
    assert "is no Hopper (compute capability 9.0): attention is measured by XLA" in printed


def _check_the_measured(figures: dict[str, Any]) -> None:
    assert figures["cases"]["ceilings"]["copy"] > 0
    row = figures["cases"]["decode 3 x 128"]
    assert 0 < row["rounding"] <= row["error"]
    assert 0 < row["best_ms"] <= row["ms"] <= row["worst_ms"]
    single, offline = figures["engine"]["single"], figures["engine"]["offline"]
    assert single["steps"] >= QUICK.single.answer // 2
    assert 0 < single["median_ms"] <= single["p99_ms"]
    assert offline["mean_answer"] == QUICK.offline.answer
    assert offline["output_tokens_per_s"] > 0
    assert figures["engine"]["compiles_after_ready"]["count"] == 0


def test_the_second_call(tmp_path: Path) -> None:
    code, figures, printed = bench(tmp_path, "second", "--way", "xla")  # whose programs the first call has compiled
    assert code == 0, printed[-3000:]
    parts = statuses(figures, "engine")
    assert parts.pop("generate") in ("ok", "skipped")
    assert parts == {"start": "ok", "conversations": "ok", "compiles_after_ready": "ok", "variant: scan": "ok"}
    variant = figures["engine"]["variant: scan"]
    assert variant["single"]["steps"] >= QUICK.single.answer // 2
    others = statuses(figures, "more cases")
    assert others.pop("prefill 96, float8") == "ok"
    assert others == {"cuDNN: decode 3 x 128": "skipped", "torch: decode 3 x 128": "skipped"}


def test_a_call_without_time_names_all_that_it_skips_and_starts_no_child(tmp_path: Path) -> None:
    code, figures, printed = bench(tmp_path, "first", "--longest", "0")
    assert code == 0
    for group in ("ladder", "specs", "cases", "sweep", "engine"):
        assert statuses(figures, group) == {"all parts": "skipped"}
    assert "jax==" in printed.splitlines()[1]
    assert "flax==" in printed.splitlines()[1]
    assert "orbax-checkpoint==" in printed.splitlines()[1]


@pytest.mark.matrix
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("call", ["first", "second"])
def test_any_single_part_may_fail(call: str, tmp_path: Path) -> None:
    """A part of every group at a time; the engine's are then measured with attention by XLA."""
    _, clean, _ = bench(tmp_path, call, limit=1500)
    good = {
        group: [part for part, status in statuses(clean, group).items() if status == "ok"]
        for group in GROUPS
        if group in clean
    }
    for index in range(max(map(len, good.values()))):
        faulty = {group: parts[index] for group, parts in good.items() if index < len(parts)}
        words = [word for part in faulty.values() for word in ("--fault", f"{part}=abort")]
        (tmp_path / str(index)).mkdir()
        code, figures, _ = bench(tmp_path / str(index), call, *words, limit=1500)
        assert code == 1
        for group, parts in good.items():
            found = statuses(figures, group)
            left = {part for part, status in found.items() if status == "ok"}
            missing = {part for part in parts if not {part, f"{part}, attention by XLA"} & left}
            assert found.get(faulty.get(group, ""), "abort") == "abort", (index, group, found)
            assert missing <= {faulty.get(group)}, (index, group, found)


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
    for plan in (FULL, SMALL, QUICK):
        assert plan.buckets.tokens[-1] == plan.max_num_batched_tokens
        assert plan.buckets.logit_rows[-1] == plan.buckets.samples[-1] == plan.max_num_seqs
        assert plan.buckets.tokens[:2] >= (plan.single.requests, plan.batch.requests)
        assert plan.batch.requests <= plan.buckets.tokens[1]
        for workload in (plan.single, plan.batch, plan.offline, plan.conversations):
            assert workload.prompt + workload.answer <= plan.max_model_len
    assert plan_for(quick=False, memory=24 << 30) is SMALL
    assert plan_for(quick=False, memory=100 << 30) is plan_for(quick=False, memory=0) is FULL
