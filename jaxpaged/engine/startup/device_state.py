"""What a Runner keeps on the devices beside the weights."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from jaxpaged.execution.memory import MemoryPlan
from jaxpaged.execution.programs import ProgramSet
from jaxpaged.execution.step import DeviceRows
from jaxpaged.kv.pool import KVPool, PoolGeometry


class DeviceState(NamedTuple):
    """Pages, rows, sampling state of the rows, logits."""

    pool: KVPool
    rows: DeviceRows
    sampler_rows: Any
    logits: jax.Array

    @classmethod
    def allocate(cls, pool: PoolGeometry, programs: ProgramSet, plan: MemoryPlan) -> Self:
        """Everything empty, on the devices."""
        return cls(
            KVPool.allocate(pool, plan.num_pages).warm_up(),
            _zeros(programs.rows()),
            _initial_rows(programs),
            _zeros(programs.logits_buffer()),
        )


def _zeros(abstract: Any) -> Any:
    make = jax.jit(
        lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), abstract),
        out_shardings=jax.tree.map(lambda leaf: leaf.sharding, abstract),
    )
    return make()


def _initial_rows(programs: ProgramSet) -> Any:
    abstract = programs.sampler_rows()

    def make() -> Any:
        one = programs.functions.sampler.init_rows(programs.limits.rows)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (programs.shards, *leaf.shape)), one)

    return jax.jit(make, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, abstract))()
