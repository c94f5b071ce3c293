#!/usr/bin/env python3
"""The engine on one GPU: an 8B Llama's shape with random bfloat16 weights made on the device, in this process.

    scripts/bench_gpu.py --out DIRECTORY            # under 8 minutes on an H200
    scripts/bench_gpu.py --out DIRECTORY --quick    # a tiny model on any machine, to see that it runs

Parts in order of importance: time per output token of one sequence and of 64 at 2k context, offline throughput at
1000/1000, mean lengths 161/338 beside transformers' generate, then the decoding step compiled in other ways (layer
loops, command buffers) and timed in the engine's place. DIRECTORY gets engine.json, whole after every part,
the device's target description, XLA's autotuning results and the thunks of each variant.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
LONGEST = 460.0  # seconds, after which no part is started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIRECTORY")
    parser.add_argument("--quick", action="store_true", help="a tiny model, few requests")
    parser.add_argument("--longest", type=float, default=LONGEST, metavar="SECONDS", help="start no part after this")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    # XLA reads it when jax starts, hence the late imports below.
    autotuned = f"--xla_gpu_dump_autotune_results_to={args.out / 'autotune_results.txtpb'}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {autotuned}".strip()
    return _bench(args.out, quick=args.quick, longest=args.longest)


def _bench(out: Path, *, quick: bool, longest: float) -> int:
    from gpu.engine_plan import FULL, QUICK
    from gpu.report import Report

    logging.basicConfig(level=logging.INFO)
    plan = QUICK if quick else FULL
    report = Report(" ".join(["scripts/bench_gpu.py", *sys.argv[1:]]), out / "engine.json")
    parts = Parts(report, longest)
    parts.run("target", lambda: _save_target(out))
    with tempfile.TemporaryDirectory() as directory:
        llm = _start(plan, Path(directory))
    report.say(f"ready after {llm.engine.info.start_up_seconds:.1f} s\n{llm.engine.info.report}")
    report.add("start", {"seconds": llm.engine.info.start_up_seconds, "pages": llm.engine.info.num_pages})
    _measure(parts, llm, plan, out)
    report.say("done" if not parts.failed else f"failed: {', '.join(parts.failed)}")
    return 1 if parts.failed else 0


def _measure(parts: Parts, llm: Any, plan: Any, out: Path) -> None:
    import jax

    from gpu.engine_runs import throughput, time_per_token
    from gpu.transformers_generate import bench_generate
    from gpu.variants import GPU_VARIANTS, OTHER_VARIANTS

    on_gpu = jax.default_backend() == "gpu"
    parts.run("single", lambda: time_per_token(llm, plan.single, seed=1))
    parts.run("batch", lambda: time_per_token(llm, plan.batch, seed=2))
    parts.run("offline", lambda: throughput(llm, plan.offline, seed=3))
    parts.run("conversations", lambda: throughput(llm, plan.conversations, seed=4, ragged=True))
    parts.run(
        "generate",
        lambda: bench_generate(plan.config, plan.conversations, plan.generate_batches, on_cpu=not on_gpu),
    )
    parts.run("compiles_after_ready", lambda: llm.engine.stats().compiles_after_ready)
    for name, variant in (GPU_VARIANTS if on_gpu else OTHER_VARIANTS).items():
        parts.run(f"variant: {name}", lambda name=name, variant=variant: _variant(llm, plan, name, variant, out))


class Parts:
    """Runs parts one after the other: one that fails or comes too late is noted, and the next one runs."""

    def __init__(self, report: Any, longest: float) -> None:
        self.report, self.longest = report, longest
        self.failed: list[str] = []

    def run(self, name: str, part: Callable[[], Any]) -> None:
        if self.report.elapsed > self.longest:
            figures: Any = {"skipped": f"{self.report.elapsed:.0f} s had passed"}
        else:
            try:
                figures = part()
            except Exception as error:  # noqa: BLE001 - the time on a card is short: what follows must still run
                traceback.print_exc()
                figures = {"failed": f"{type(error).__name__}: {error}"[:500]}
                self.failed.append(name)
        self.report.say(f"{name}: {figures}")
        self.report.add(name, figures)


def _start(plan: Any, directory: Path) -> Any:
    """The engine as on a GPU, with the plan's sizes only and no rare sampling. Not cached: see compile_variant."""
    from gpu.llama import write_model
    from jaxpaged import LLM, EngineConfig
    from jaxpaged.config import CacheConfig, CompileConfig, ModelConfig, SchedulerConfig
    from jaxpaged.execution.buckets import Buckets

    model = write_model(directory / "llama", plan.config)
    config = EngineConfig(
        ModelConfig(
            str(model), load_format="dummy", skip_tokenizer_init=True, max_model_len=plan.max_model_len,
            served_model_name="llama",
        ),
        CacheConfig(gpu_memory_utilization=plan.kv_share),
        SchedulerConfig(max_num_seqs=plan.max_num_seqs, max_num_batched_tokens=plan.max_num_batched_tokens),
        compile=CompileConfig(persistent_cache=False, layer_loop="unroll", variants=("greedy", "plain")),
    )  # fmt: skip
    with mock.patch.object(Buckets, "for_limits", return_value=plan.buckets):
        return LLM.from_config(config)


def _variant(llm: Any, plan: Any, name: str, variant: Any, out: Path) -> dict[str, Any]:
    """Compile it for the smallest step and for that of the batch, then time both workloads with it."""
    from gpu.engine_runs import time_per_token
    from gpu.variants import compile_variant, in_place
    from jaxpaged.models.registry import spec_from_config

    spec = spec_from_config(dict(plan.config)).served_at(plan.max_model_len)
    compiled = {tokens: compile_variant(llm, spec, variant, tokens) for tokens in plan.buckets.tokens[:2]}
    figures: dict[str, Any] = {f"step of {tokens}": one.figures() for tokens, one in compiled.items()}
    with (out / "thunks.txt").open("a", encoding="utf-8") as file:
        for tokens, one in compiled.items():
            file.write(f"{name}, {tokens} tokens\n{one.thunks}\n")
    with in_place(llm, {tokens: one.executable for tokens, one in compiled.items()}):
        figures["single"] = time_per_token(llm, plan.single, seed=1)
        figures["batch"] = time_per_token(llm, plan.batch, seed=2)
    return figures


def _save_target(out: Path) -> dict[str, Any]:
    """Write the description that deviceless compiles of this card need, as XLA gives it."""
    import jax
    from jax._src.lib import xla_client  # there is no public way to it in 0.11.2

    device = jax.devices()[0]
    if device.platform != "gpu":
        return {"skipped": "only GPUs have a target description"}
    description = xla_client.get_topology_for_devices(jax.devices()).target_config
    (out / "target_config.txtpb").write_text(description, encoding="utf-8")
    tool = shutil.which("nvidia-smi")
    card = [tool, "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit", "--format=csv,noheader"]
    return {
        "target_config": "target_config.txtpb",
        "nvidia_smi": subprocess.run(card, capture_output=True, text=True).stdout.strip() if tool else "",
        "memory": device.memory_stats()["bytes_limit"],
    }


if __name__ == "__main__":
    sys.exit(main())
