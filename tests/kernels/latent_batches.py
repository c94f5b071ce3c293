"""Batches for latent attention: those of paged attention with one key head, whose keys are the rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from pallas_kernels.latent_attention import LatentAttentionResult, latent_attention
from pallas_kernels.paged_attention import pool_layout
from pallas_kernels.paged_attention.example_batches import Arrays, Batch, assemble, sequence_contents
from pallas_kernels.paged_attention.example_specs import Spec

CPU = pool_layout("cpu")
HEADS, LANES, VALUE = 5, 24, 18
SPEC = Spec("latent", HEADS, 1, LANES, page_size=16)
SCALE = 0.21


def arrays_of(batch: Batch, dtype: str = "float32", seeds: list[int] | None = None, spare: int = 0) -> Arrays:
    """seeds: of each sequence's contents. spare: lanes of a stored row behind its own."""
    seeds = seeds or [batch.seed + i for i in range(len(batch.lengths))]
    drawn = [sequence_contents(SPEC, seed, sum(pair)) for seed, pair in zip(seeds, batch.lengths, strict=True)]
    arrays = assemble(SPEC, batch, drawn, CPU, jnp.dtype(dtype))
    pool = jnp.pad(arrays.pool[:, :, 0, 0], [(0, 0)] * 3 + [(0, spare)])
    return arrays._replace(pool=pool)


@cache
def program(implementation: str) -> Callable[..., LatentAttentionResult]:
    return jax.jit(partial(latent_attention, scale=SCALE, value_lanes=VALUE, implementation=implementation))


def run(arrays: Arrays, implementation: str = "xla") -> LatentAttentionResult:
    return program(implementation)(arrays.q, arrays.k[:, 0], arrays.pool, arrays.layer, arrays.sequences)


def by_loops(batch: Batch, sequence: int) -> np.ndarray:
    """float64 [new, heads, value lanes] of one sequence, from the definition."""
    old, new = batch.lengths[sequence]
    contents = sequence_contents(SPEC, batch.seed + sequence, old + new).astype(np.float64)
    rows, out = contents[HEADS], np.zeros((new, HEADS, VALUE))
    for i, position in enumerate(range(old, old + new)):
        for head in range(HEADS):
            seen = rows[: position + 1]
            weights = np.exp(SCALE * seen @ (contents[head, position] * batch.key_scale))
            out[i, head] = weights @ seen[:, :VALUE] / weights.sum()
    return out
