"""Attention over the layers of a small model, in a scan over one donated pool: the suite for a CPU."""

from __future__ import annotations

import argparse
import statistics
import time
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax import lax

from pallas_kernels.paged_attention import paged_attention, pool_layout
from pallas_kernels.paged_attention.example_batches import Arrays, Batch, make
from pallas_kernels.paged_attention.example_specs import BY_NAME, Spec

CASES = MappingProxyType(
    {
        "decode1": (((219, 1),), 8),
        "decode1_long": (((2000, 1),), 8),
        "decode8": (((219, 1),) * 8, 8),
        "decode16": (((219, 1),) * 16, 16),
        "decode12": (((219, 1),) * 12, 16),
        "decode24": (((219, 1),) * 24, 32),
        "decode64": (((219, 1),) * 64, 64),
        "decode64_ragged": (tuple((3 + 7 * i, 1) for i in range(64)), 64),
        "decode256": (((219, 1),) * 256, 256),
        "prefill512": (((0, 512),), 512),
        "prefill512_after_1536": (((1536, 512),), 512),
        "prefill512_prompts": (((0, 161),) * 3 + ((0, 29),), 512),
        "mixed512": (((219, 1),) * 64 + ((0, 161),) * 2 + ((0, 126),), 512),
    }
)
WIDTH = 256  # of the metadata
TABLE = 64  # pages of a row of the page table


def program(spec: Spec, layers: int, implementation: str | None):
    """pool, arguments -> (sum of outputs, pool) after attention in `layers` layers."""

    def run(pool, q, k, v, sequences, options):
        def layer(carry, index):
            x, pool = carry
            result = paged_attention(
                x, k, v, pool, index, sequences, score=spec.score, implementation=implementation, **options
            )
            return (result.out, result.pool), None

        (x, pool), _ = lax.scan(layer, (q, pool), jnp.arange(layers, dtype=jnp.int32))
        return x, pool

    return jax.jit(run, donate_argnums=0)


def measure(spec: Spec, arrays: Arrays, layers: int, implementation: str | None, repeats: int) -> str:
    q, k, v, pool, _, sequences = arrays.args
    compiled = program(spec, layers, implementation).lower(pool, q, k, v, sequences, arrays.options).compile()
    temporary = compiled.memory_analysis().temp_size_in_bytes
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        _, pool = jax.block_until_ready(compiled(pool, q, k, v, sequences, arrays.options))
        times.append((time.perf_counter() - start) * 1e3 / layers)
    times = times[2:]
    return f"{statistics.median(times):8.3f} ms/layer  best {min(times):8.3f}  temp {temporary / 2**20:7.1f} MiB"


def bench_layers(options: argparse.Namespace) -> None:
    """Print milliseconds a layer of each case that `options` name. Raises SystemExit for a name that there is not."""
    if wrong := [name for name in options.case or () if name not in CASES]:
        raise SystemExit(f"--case: {wrong[0]} is none of {', '.join(sorted(CASES))}")
    if options.spec not in BY_NAME:
        raise SystemExit(f"--spec: {options.spec} is none of {', '.join(sorted(BY_NAME))}")
    spec = BY_NAME[options.spec]
    print(f"{spec}\n{jax.devices()[0].device_kind}, {options.dtype}, {options.layers} layers, metadata {WIDTH} wide")
    for case in options.case or CASES:
        lengths, tokens = CASES[case]
        batch = Batch(lengths, sequences=WIDTH, tokens=tokens, table_width=TABLE, layers=options.layers, layer=0)
        arrays = make(spec, batch, pool_layout(jax.default_backend()), jnp.dtype(options.dtype))
        print(f"{case:24}", measure(spec, arrays, options.layers, options.implementation, options.repeats), flush=True)
