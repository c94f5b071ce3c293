"""A few launches of each kernel for ncu, which runs this child and prints what the hardware counted."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax

from gpu.attention_arrays import make_arrays
from gpu.attention_cases import CASES, QUICK_CASES, Case
from gpu.attention_program import compile_layers
from gpu.device import layout_for
from gpu.task import Setup, Task

NAMES = ("decode 64 x 1k", "prefill 4k")
LAYERS = 2


def tasks(setup: Setup) -> list[Task]:
    cases = QUICK_CASES[:1] if setup.quick else [case for case in CASES if case.name in NAMES]
    return [Task(f"profile of {case.name}", partial(_run, replace(case, layers=LAYERS), setup)) for case in cases]


def _run(case: Case, setup: Setup) -> dict[str, Any]:
    layout = layout_for(setup)
    arrays = make_arrays(case, layout, seed=1)
    jax.block_until_ready(compile_layers(case, layout, arrays)(arrays.pool, arrays.new, arrays.sequences))
    return {"layers": case.layers}
