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
    zero = jnp.zeros((), jnp.int32)
    compiled = jax.jit(partial(repeated, call)).lower(operands, zero).compile()
    return measure(lambda _: compiled(operands, zero), None).median * 1e3 / REPEATS


def repeated(call: KernelCall, operands: list[jax.Array], zero: jax.Array) -> Any:
    """The kernel's outputs after REPEATS runs, each of which waits for the one before.

    `zero` is 0, which the compiler must not know: else it would make one run of them all. It costs a small add a run.
    """
    integers = [i for i, x in enumerate(operands) if x.dtype == jnp.int32]
    smallest = min(integers, key=lambda i: operands[i].size)
    results = call.call(*operands)
    for _ in range(REPEATS - 1):
        first = lax.convert_element_type(results[0].reshape(-1)[0] > 0, jnp.int32)
        given = list(operands)
        given[smallest] = operands[smallest] + zero * first
        results = call.call(*given)
    return results
