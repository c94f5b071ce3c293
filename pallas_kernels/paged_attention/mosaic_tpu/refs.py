"""What the parts of the TPU attention kernel share: static sizes, and references to memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pallas_kernels.paged_attention.layout import LANES
from pallas_kernels.paged_attention.mosaic_tpu.fetch import Fetch, Plan, Scalars
from pallas_kernels.paged_attention.score import ScoreMod

STAGES = 4  # registers of rows on their way back to the pool
SEQUENCE, WRITES = range(2)  # fields of Refs.progress: the sequence that is attended to, rows that were written


@dataclass(frozen=True)
class Geometry:
    """Static sizes. group: rows per token; tiles: of one grid step; half: lanes of a key in a row of the pool."""

    plan: Plan
    kv_heads: int
    group: int
    tiles: int
    half: int
    head_unroll: int
    vmem_limit: int
    score: ScoreMod

    @property
    def rows(self) -> int:
        return self.group * self.plan.tile

    @property
    def lanes(self) -> int:
        """Width of queries and outputs. Half a register of queries meets a whole row, zeros on the value's side."""
        return max(self.half, LANES)

    @property
    def writes(self) -> bool:
        return not self.plan.chunks


class Refs(NamedTuple):
    """What the kernel's parts share. top, total: [hkv, rows, 128], each value in all lanes; acc [hkv, rows, lanes]."""

    s: Scalars
    f: Fetch
    slopes: jax.Ref | None
    sinks: jax.Ref | None
    q: jax.Ref
    new: Any  # and stage, stage_sem: None unless the kernel writes
    out: jax.Ref
    top: jax.Ref
    total: jax.Ref
    acc: jax.Ref
    progress: jax.Ref
    stage: Any
    stage_sem: Any


def softmax_scratch(g: Geometry) -> list[Any]:
    state = pltpu.VMEM((g.kv_heads, g.rows, LANES), jnp.float32)
    return [state, state, pltpu.VMEM((g.kv_heads, g.rows, g.lanes), jnp.float32), pltpu.SMEM((2,), jnp.int32)]


def write_scratch(g: Geometry, pool: jax.Array) -> list[Any]:
    if not g.writes:
        return []
    rows = pltpu.VMEM((STAGES, g.kv_heads, sublanes(pool.dtype), pool.shape[-1]), pool.dtype)
    return [rows, pltpu.SemaphoreType.DMA((STAGES,))]


def sublanes(dtype: jnp.dtype) -> int:
    """Rows of a register: what a copy to or from a page must be aligned to."""
    return 32 // jnp.dtype(dtype).itemsize


def for_heads(kv_heads: int, unroll: int, body: Callable[[jax.Array], None]) -> None:
    """body(head) for every head, as many interleaved as divide the heads and are at most `unroll`."""
    several = max(n for n in range(1, unroll + 1) if kv_heads % n == 0)

    @pl.loop(0, kv_heads // several)
    def _group(j: jax.Array) -> None:
        for k in range(several):
            body(j * several + k)
