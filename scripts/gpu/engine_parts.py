"""What is measured of the engine: one is started, in this process, and every part uses it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jax

from gpu.engine_plan import EnginePlan, plan_for
from gpu.engine_runs import throughput, time_per_token
from gpu.llama import write_model
from gpu.target import save_target
from gpu.task import Setup, Task
from gpu.transformers_generate import bench_generate
from gpu.variants import GPU_VARIANTS, NO_COMMAND_BUFFERS, OTHER_VARIANTS, Variant, compile_variant, in_place
from jaxpaged import LLM, EngineConfig
from jaxpaged.config import CacheConfig, CompileConfig, ModelConfig, SchedulerConfig
from jaxpaged.execution.buckets import Buckets
from jaxpaged.models.registry import spec_from_config


class EngineParts:
    """Owns the engine of a child."""

    def __init__(self, setup: Setup) -> None:
        logging.basicConfig(level=logging.INFO)
        self.setup = setup
        self.on_gpu = jax.default_backend() == "gpu"
        memory = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0)
        self.plan: EnginePlan = plan_for(quick=setup.quick, memory=memory)
        self.llm: LLM | None = None

    def tasks(self, parts: tuple[str, ...]) -> list[Task]:
        """Of these parts, after the start, which all of them need."""
        plan = self.plan
        runs: dict[str, Callable[[], Any]] = {
            "target": lambda: save_target(self.setup.out),
            "single": lambda: time_per_token(self.engine, plan.single, seed=1),
            "batch": lambda: time_per_token(self.engine, plan.batch, seed=2),
            "offline": lambda: throughput(self.engine, plan.offline, seed=3),
            "conversations": lambda: throughput(self.engine, plan.conversations, seed=4, ragged=True),
            "generate": self._generate,
            "compiles_after_ready": lambda: {"count": self.engine.engine.stats().compiles_after_ready},
        }
        tasks = [Task("start", self._start, needed=True)]
        for part in parts:
            tasks += [Task(part, runs[part])] if part in runs else self._variants(part)
        return tasks

    @property
    def engine(self) -> LLM:
        assert self.llm is not None  # "start" is needed by all
        return self.llm

    def _start(self) -> dict[str, Any]:
        """As on a GPU, with the plan's sizes only and no rare sampling."""
        plan = self.plan
        with tempfile.TemporaryDirectory() as directory:
            config = _config(write_model(Path(directory) / "llama", plan.config), plan, self.setup)
            with mock.patch.object(Buckets, "for_limits", return_value=plan.buckets):
                self.llm = LLM.from_config(config)
        info = self.llm.engine.info
        print(info.report, flush=True)
        return {"engine_s": info.start_up_seconds, "pages": info.num_pages, "report": info.report}

    def _generate(self) -> Mapping[str, Any]:
        plan = self.plan
        return bench_generate(plan.config, plan.conversations, plan.generate_batches, on_cpu=not self.on_gpu)

    def _variants(self, which: str) -> list[Task]:
        """That without command buffers, or all others."""
        if not self.on_gpu:
            variants = OTHER_VARIANTS if which == "other variants" else {}
        else:
            variants = {
                k: v for k, v in GPU_VARIANTS.items() if (k == NO_COMMAND_BUFFERS) == (which != "other variants")
            }
        return [Task(f"variant: {name}", partial(self._variant, name, one)) for name, one in variants.items()]

    def _variant(self, name: str, variant: Variant) -> dict[str, Any]:
        """Compile it for the smallest step and for that of the batch, then time both workloads with it."""
        plan, llm = self.plan, self.engine
        spec = spec_from_config(dict(plan.config)).served_at(plan.max_model_len)
        compiled = {tokens: compile_variant(llm, spec, variant, tokens) for tokens in plan.buckets.tokens[:2]}
        figures: dict[str, Any] = {f"step of {tokens}": one.figures() for tokens, one in compiled.items()}
        with (self.setup.out / "thunks.txt").open("a", encoding="utf-8") as file:
            for tokens, one in compiled.items():
                file.write(f"{name}, {tokens} tokens\n{one.thunks}\n")
        with in_place(llm, {tokens: one.executable for tokens, one in compiled.items()}):
            figures["single"] = time_per_token(llm, plan.single, seed=1)
            figures["batch"] = time_per_token(llm, plan.batch, seed=2)
        return figures


def _config(model: Path, plan: EnginePlan, setup: Setup) -> EngineConfig:
    """Programs are kept by a rehearsal only: of one that is found compiled XLA writes nothing, see compile_variant."""
    attention: Any = setup.attention
    return EngineConfig(
        ModelConfig(
            str(model), load_format="dummy", skip_tokenizer_init=True, max_model_len=plan.max_model_len,
            served_model_name="llama",
        ),
        CacheConfig(gpu_memory_utilization=plan.kv_share),
        SchedulerConfig(max_num_seqs=plan.max_num_seqs, max_num_batched_tokens=plan.max_num_batched_tokens),
        compile=CompileConfig(
            persistent_cache=setup.quick, layer_loop="unroll", attention=attention, variants=("greedy", "plain")
        ),
    )  # fmt: skip
