"""What a decoding step's wall time goes to: each program waited for, attention alone, and the host."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.workloads import alike
from gpu.cpu_layers import program
from jaxpaged import LLM, SamplingParams
from pallas_kernels.paged_attention import pool_layout
from pallas_kernels.paged_attention.example_batches import Batch, make
from pallas_kernels.paged_attention.example_specs import Spec

TABLE = 64  # pages of a row of the page table


class StepParts:
    """Of steps in which `rows` sequences decode."""

    def __init__(self, llm: LLM, last: int) -> None:
        self.llm, self.last = llm, last

    def measure(self, rows: int, prompt: int, answer: int, layer: dict[str, Any], seed: int) -> dict[str, float]:
        """Milliseconds a step by part. `layer`: the model's number of layers and the fields of attention's Spec."""
        runs: dict[str, list[float]] = defaultdict(list)
        jobs = alike(rows, prompt, answer, seed, self.last)
        params = SamplingParams(max_tokens=answer, ignore_eos=True, temperature=0.0)
        with self._timed_programs(runs):
            self.llm.generate([{"prompt_token_ids": job.prompt} for job in jobs], params, use_tqdm=False)
        steps = [step for step in self.llm.engine.records.records if step.tokens == step.sequences == rows]
        whole = [
            after.submitted - before.submitted for before, after in pairwise(steps) if after.step == before.step + 1
        ]
        count = len(whole)  # prompts come first: the last calls of a program are those of the steps that are counted
        parts = {name: 1e3 * statistics.median(seconds[-count:]) for name, seconds in runs.items()}
        attention = self._attention(rows, prompt + answer // 2, dict(layer))
        total = 1e3 * statistics.median(whole)
        host = max(0.0, total - sum(parts.values()))
        layers = max(0.0, parts.pop("backbone") - attention)
        return {"attention": attention, "layers": layers, **parts, "host": host, "step": total}

    @contextmanager
    def _timed_programs(self, runs: dict[str, list[float]]) -> Iterator[None]:
        """Each call of a compiled program waits for its end."""
        table = self.llm.engine.runner.programs.compiled
        own = dict(table)

        def timed(name: str, executable: Any) -> Any:
            def run(*arguments: Any) -> Any:
                jax.block_until_ready(arguments)
                began = time.perf_counter()
                result = jax.block_until_ready(executable(*arguments))
                runs[name].append(time.perf_counter() - began)
                return result

            return run

        table.update({key: timed(key[0], own[key]) for key in own if key[0] in ("backbone", "logits", "sample")})
        try:
            yield
        finally:
            table.update(own)

    @staticmethod
    def _attention(rows: int, context: int, layer: dict[str, Any]) -> float:
        """Milliseconds of all layers' attention, alone in a program."""
        layers = layer.pop("layers")
        spec = Spec("measured", **layer)
        batch = Batch(
            ((context - 1, 1),) * rows, sequences=max(rows, 8), tokens=max(rows, 8), table_width=TABLE, layers=layers,
            layer=0,
        )  # fmt: skip
        arrays = make(spec, batch, pool_layout(jax.default_backend()), jnp.dtype("bfloat16"))
        q, k, v, pool, _, sequences = arrays.args
        compiled = program(spec, layers, None).lower(pool, q, k, v, sequences, arrays.options).compile()
        seconds = []
        for _ in range(12):
            began = time.perf_counter()
            _, pool = jax.block_until_ready(compiled(pool, q, k, v, sequences, arrays.options))
            seconds.append(time.perf_counter() - began)
        return 1e3 * statistics.median(seconds[2:])
