"""The gate: small steps of attention against float32 on this device, without and with command buffers.

The ladder climbs from one tile of one decode to the mixed step that an 8B engine compiles; what fails there says how
the engine is measured. The specs say which other shapes and options work, over pages of bfloat16 and of float8.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpu.device import layout_for
from gpu.gate_checks import MODES, QUICK_RUNGS, QUICK_SPECS, RUNGS, SPECS, Check
from gpu.sizes import attention_with
from gpu.task import Setup, Task
from pallas_kernels.paged_attention import PoolLayout, paged_attention
from pallas_kernels.paged_attention.example_batches import Arrays, make

TIMES = 3  # that a program is run: a command buffer is recorded, run again, and updated
ROUNDINGS = 4.0  # most errors of rounding the exact output, as its largest difference
XLA_ROUNDINGS = 16.0  # it multiplies pages of float8 with weights rounded as they are
TANH_ERROR = 2.0**-10.9  # relative, of the hardware's tanh, which a soft cap is computed with


def ladder(setup: Setup) -> list[Task]:
    return _tasks(QUICK_RUNGS if setup.quick else RUNGS, setup, tuple(MODES))


def specs(setup: Setup) -> list[Task]:
    return _tasks(QUICK_SPECS, setup, ("on",)) if setup.quick else _tasks(SPECS, setup, tuple(MODES))


def _tasks(checks: Iterable[Check], setup: Setup, modes: tuple[str, ...]) -> list[Task]:
    layout = layout_for(setup)
    return [
        Task(name, partial(check_step, check, layout, mode, lie=name in setup.lies))
        for check in checks
        for mode in modes
        for name in [f"{check.name}, {check.stored}, command buffers {mode}"]
    ]


def check_step(check: Check, layout: PoolLayout, mode: str, *, lie: bool = False) -> dict[str, Any]:
    """Largest error of a step's outputs, what may be, and what is wrong. lie: as if one key had been left out."""
    arrays, exact, pool = _expected(check, layout)
    attend = partial(attention_with(check.sizes, layout), score=check.spec.score, decodes_only=check.decodes_only)
    lowered = jax.jit(attend).lower(*arrays.args, **arrays.options)
    compiled = lowered.compile(compiler_options=dict(MODES[mode]))
    for _ in range(TIMES):
        out, got_pool = jax.block_until_ready(compiled(*arrays.args, **arrays.options))
    rows = np.asarray(out.astype(jnp.float32))
    rows = rows + 0.1 if lie else rows
    error = float(np.abs(rows[: len(exact)] - exact).max(initial=0))
    most = _most(check, exact, ROUNDINGS if layout.name == "hopper" else XLA_ROUNDINGS)
    problem = "" if error <= most else f"error {error:.1e} above {most:.1e}"
    if not np.isfinite(rows).all():
        problem = "elements of the output are not finite"
    elif not np.array_equal(np.asarray(got_pool.astype(jnp.float32))[:, 1:], pool[:, 1:], equal_nan=True):
        problem = problem or "the pool holds other values than were written"
    return {"error": error, "most": most, "problem": problem}


def _most(check: Check, exact: np.ndarray, roundings: float) -> float:
    """The largest difference that may be."""
    rounded = np.asarray(jnp.asarray(exact, jnp.bfloat16).astype(jnp.float32))
    rounding = float(np.abs(rounded - exact).max(initial=0))
    capped = 2 * (check.spec.soft_cap or 0.0) * TANH_ERROR * float(np.abs(exact).max(initial=0))
    return roundings * rounding + capped + 1e-6


@cache
def _expected(check: Check, layout: PoolLayout) -> tuple[Arrays, np.ndarray, np.ndarray]:
    """The step, its exact outputs [t, hq, d] and the pool after it, float32, of the values as the pool holds them."""
    arrays = make(check.spec, check.batch, layout, jnp.dtype("bfloat16"))
    arrays = arrays._replace(pool=arrays.pool.astype(check.stored))
    q, k, v, pool = arrays[:4]
    floats = [x.astype(jnp.float32) for x in (q, k.astype(pool.dtype), v.astype(pool.dtype), pool)]
    reference = partial(paged_attention, score=check.spec.score, layout=layout, implementation="reference")
    result = jax.jit(reference)(*floats, *arrays.args[4:], **arrays.options)
    new = sum(fresh for _, fresh in check.batch.lengths)
    written = result.pool.astype(check.stored).astype(jnp.float32)
    return arrays, np.asarray(result.out)[:new], np.asarray(written)
