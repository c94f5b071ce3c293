"""Paged attention on this device: first right, then timed, beside what the same process gets from the card."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from gpu.attention_arrays import Arrays, make_arrays
from gpu.attention_cases import CASES, FP8, MORE_CASES, QUICK_CASES, QUICK_MORE_CASES, Case
from gpu.attention_check import FLOAT8_LIMIT, LIMIT, Accuracy, compare, draw
from gpu.attention_program import compile_layers
from gpu.ceilings import Ceilings, measure_ceilings
from gpu.device import layout_for
from gpu.sizes import DEFAULT, Sizes
from gpu.task import Setup, Skip, Task
from gpu.timing import Time, measure
from pallas_kernels.paged_attention import PoolLayout

FREE = 0.8  # of the memory that JAX may use, for a case's pool and its random values while they are made


def main_cases(setup: Setup) -> list[Task]:
    ceilings = Task("ceilings", lambda: asdict(_ceilings(setup.quick)))
    return [ceilings, *_tasks(QUICK_CASES if setup.quick else CASES, setup)]


def more_cases(setup: Setup) -> list[Task]:
    return _tasks(QUICK_MORE_CASES if setup.quick else MORE_CASES, setup)


def _tasks(cases: Iterable[Case], setup: Setup) -> list[Task]:
    return [Task(case.name, partial(_run, case, setup)) for case in cases]


@cache
def _ceilings(quick: bool) -> Ceilings:
    return measure_ceilings(quick=quick)


def _run(case: Case, setup: Setup) -> dict[str, Any]:
    layout = layout_for(setup)
    _check_room(case, layout)
    accuracy, time = check_and_time(case, layout, lie=case.name in setup.lies)
    row: dict[str, Any] = {**asdict(accuracy), "layers": case.layers, "layout": layout.name}
    if time is not None:
        row |= {"ms": time.median * 1e3, "best_ms": time.best * 1e3, "worst_ms": time.worst * 1e3}
        row |= {"host_ms": time.host * 1e3, **_rates(case, time.median, _ceilings(setup.quick))}
    return row


def check_and_time(
    case: Case, layout: PoolLayout, sizes: Sizes = DEFAULT, *, lie: bool = False
) -> tuple[Accuracy, Time | None]:
    """Of one layer; what is wrong is not timed. The memory that outputs are likely to get is filled with NaN first."""
    arrays = make_arrays(case, layout, seed=len(case.name))
    compiled = compile_layers(case, layout, arrays, sizes)
    sample = draw(case, layout, arrays, seed=len(case.name))
    _poison(case, arrays)
    outputs, pool = compiled(arrays.pool, arrays.new, arrays.sequences)
    out = outputs[-1] + 0.1 if lie else outputs[-1]
    accuracy = compare(sample, out, FLOAT8_LIMIT if case.stored == FP8 and layout.name != "hopper" else LIMIT)
    del outputs, out
    if accuracy.problem:
        return accuracy, None
    time = measure(lambda pool: compiled(pool, arrays.new, arrays.sequences)[1], pool)
    return accuracy, Time(*(seconds / case.layers for seconds in asdict(time).values()))


def _poison(case: Case, arrays: Arrays) -> None:
    q = arrays.new[0][0]
    jax.block_until_ready([jnp.full(q.shape, jnp.nan, q.dtype) for _ in range(case.layers)])


def _check_room(case: Case, layout: PoolLayout) -> None:
    """Raises Skip where the card's memory is too small."""
    spec = case.spec
    pages = sum(-(-sum(pair) // spec.page_size) for pair in case.lengths)
    size = layout.shape(
        layers=case.layers, pages=pages, page_size=spec.page_size, kv_heads=spec.kv_heads, head_dim=spec.head_dim
    )
    needed = 2 * 2 * int(jnp.prod(jnp.asarray(size, jnp.float32)))  # bfloat16, and random bits as many
    room = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0)
    if room and needed > FREE * room:
        raise Skip(f"it needs {needed / 2**30:.0f} GiB, and JAX may use {room / 2**30:.0f}; smaller cases are measured")


def _rates(case: Case, seconds: float, ceilings: Ceilings) -> dict[str, float]:
    """Per second; the share is of the least time that the card's bytes and operations a second allow."""
    moved, computed = case.bytes / seconds, case.operations / seconds
    share = case.floor(ceilings.copy, ceilings.matmul) / seconds
    return {"tb_per_s": moved / 1e12, "tflop_per_s": computed / 1e12, "share": share}
