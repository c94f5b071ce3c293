"""Time the kernels of pallas_kernels on this device.

    python scripts/bench_kernels.py                          # on a CPU: a small model's cases, in a scan over layers
    python scripts/bench_kernels.py --case decode64 --layers 4 --implementation xla
    python scripts/bench_kernels.py --out kernels.json       # on a GPU: an 8B Llama's cases beside the card's ceilings
    python scripts/bench_kernels.py --suite gpu --quick      # the same on any machine, with small shapes

On a CPU it prints milliseconds per layer (median, and the fastest), and the bytes of temporary buffers beside the pool.
On a GPU every case is first compared with attention in float64; the table gives the share of the bandwidth of a copy
and of the rate of a matrix product that the same run measured, and cuDNN and torch beside it. Exits with 1 on a wrong
output.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from types import MappingProxyType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
from jax import lax

from gpu.attention import bench_attention
from gpu.report import Report
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


def main() -> int:
    options = arguments()
    suite = options.suite or ("gpu" if jax.default_backend() == "gpu" else "layers")
    if suite == "gpu":
        report = Report(" ".join(["scripts/bench_kernels.py", *sys.argv[1:]]), options.out)
        return 0 if bench_attention(report, quick=options.quick, implementation=options.implementation) else 1
    bench_layers(options)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=("layers", "gpu"), help="default: gpu on a GPU, layers elsewhere")
    parser.add_argument("--implementation")
    layers = parser.add_argument_group("suite layers")
    layers.add_argument("--spec", default="smol135", choices=sorted(BY_NAME))
    layers.add_argument("--case", action="append", choices=sorted(CASES))
    layers.add_argument("--layers", type=int, default=30)
    layers.add_argument("--dtype", default="bfloat16")
    layers.add_argument("--repeats", type=int, default=15)
    gpu = parser.add_argument_group("suite gpu")
    gpu.add_argument("--quick", action="store_true", help="small shapes, to see that it runs")
    gpu.add_argument("--out", type=Path, metavar="FILE", help="write the figures there as JSON")
    return parser.parse_args()


def bench_layers(options: argparse.Namespace) -> None:
    spec = BY_NAME[options.spec]
    print(f"{spec}\n{jax.devices()[0].device_kind}, {options.dtype}, {options.layers} layers, metadata {WIDTH} wide")
    for case in options.case or CASES:
        lengths, tokens = CASES[case]
        batch = Batch(lengths, sequences=WIDTH, tokens=tokens, table_width=TABLE, layers=options.layers, layer=0)
        arrays = make(spec, batch, pool_layout(jax.default_backend()), jnp.dtype(options.dtype))
        print(f"{case:24}", measure(spec, arrays, options.layers, options.implementation, options.repeats), flush=True)


if __name__ == "__main__":
    sys.exit(main())
