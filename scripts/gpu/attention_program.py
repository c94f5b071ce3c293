"""Attention as an engine on a GPU runs it: layers one after the other over one donated pool; every output is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from gpu.attention_arrays import Arrays
from gpu.attention_cases import Case
from gpu.sizes import DEFAULT, Sizes, attention_with
from pallas_kernels.paged_attention import PoolLayout


def compile_layers(case: Case, layout: PoolLayout, arrays: Arrays, sizes: Sizes = DEFAULT) -> Callable[..., Any]:
    """(pool, new, sequences) -> (outputs, pool), compiled. Donates the pool. Raises Skip: see attention_with."""
    attention = attention_with(sizes, layout)

    @jax.jit  # traced and lowered once for all layers
    def attend(pool, new, index, sequences, options):
        options = {**options, "decodes_only": case.decodes_only}
        return attention(*new, pool, index, sequences, score=case.spec.score, **options)

    def run(pool, new, sequences):
        outputs = []
        for index, of_layer in enumerate(new):
            out, pool = attend(pool, of_layer, jnp.int32(index), sequences, arrays.options)
            # As in a model a layer's keys are written after the layer before has read: else XLA copies the pool.
            out, pool = lax.optimization_barrier((out, pool))
            outputs.append(out)
        return outputs, pool

    return jax.jit(run, donate_argnums=0).lower(arrays.pool, arrays.new, arrays.sequences).compile()
