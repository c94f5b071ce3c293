"""The time of each of Hopper's kernels alone, beside that of the whole op with the small kernels around them."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from gpu.attention_arrays import make_arrays
from gpu.attention_cases import CASES, Case
from gpu.device import hopper_layout
from gpu.kernel_calls import KernelCall, kernel_calls
from gpu.sizes import DEFAULT, attention_with
from gpu.task import Setup, Task
from gpu.timing import measure

NAMES = ("decode 64 x 1k", "prefill 4k", "decode 1 x 32k", "prefill 1k")
REPEATS = 8  # in one program, so that launching does not bind


def tasks(setup: Setup) -> list[Task]:
    chosen = {case.name: case for case in CASES}
    return [Task(f"kernels of {name}", partial(_run, chosen[name], setup)) for name in NAMES]


def _run(case: Case, setup: Setup) -> dict[str, Any]:
    layout = hopper_layout(setup)
    arrays = make_arrays(case, layout, seed=1)
    attend = partial(attention_with(DEFAULT, layout), score=case.spec.score, decodes_only=case.decodes_only)
    args = (*arrays.new[0], arrays.pool, jnp.int32(0), arrays.sequences)
    calls, operands = kernel_calls(attend, *args)
    given = jax.jit(operands)(*args)
    del arrays, args
    times = {call.name: _milliseconds(call, one) for call, one in zip(calls, given, strict=True)}
    return {"times_ms": times}


def _milliseconds(call: KernelCall, operands: list[jax.Array]) -> float:
    def repeated(operands: list[jax.Array]) -> Any:
        results = None
        for _ in range(REPEATS):
            # One after the other, and none the same as another for the compiler.
            operands, results = lax.optimization_barrier((operands, call.call(*operands)))
        return results

    compiled = jax.jit(repeated).lower(operands).compile()
    return measure(lambda _: compiled(operands), None).median * 1e3 / REPEATS
