"""Time the kernels of pallas_kernels on this device.

    python scripts/bench_kernels.py                          # on a CPU: a small model's cases, in a scan over layers
    python scripts/bench_kernels.py --case decode64 --layers 4 --implementation xla
    python scripts/bench_kernels.py --out kernels.json       # beside an NVIDIA card: see below
    python scripts/bench_kernels.py --suite gpu --quick      # the same on any machine, with small shapes

On a CPU it prints milliseconds per layer (median, and the fastest), and the bytes of temporary buffers beside the pool.
On a GPU it runs what scripts/bench_gpu.py runs without its engine: the gate, an 8B Llama's cases, each kernel alone,
other block sizes, other shapes, and cuDNN and torch. Each part is a child's; every case is first compared with
attention in float64. Exits with 1 on a wrong output.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]


def main() -> int:
    options = arguments()
    if (options.suite or ("gpu" if shutil.which("nvidia-smi") else "layers")) == "gpu":
        from gpu.main import run_call  # imports no jax: a parent must not touch the card

        return run_call("kernels", options)
    from gpu.cpu_layers import bench_layers

    bench_layers(options)
    return 0


def arguments() -> argparse.Namespace:
    from gpu.main import add_call_arguments

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=("layers", "gpu"), help="default: gpu beside an NVIDIA card, else layers")
    layers = parser.add_argument_group("suite layers")
    layers.add_argument("--implementation")
    layers.add_argument("--spec", default="smol135")
    layers.add_argument("--case", action="append")
    layers.add_argument("--layers", type=int, default=30)
    layers.add_argument("--dtype", default="bfloat16")
    layers.add_argument("--repeats", type=int, default=15)
    gpu = parser.add_argument_group("suite gpu")
    gpu.add_argument("--out", type=Path, metavar="FILE", default=Path("kernels.json"), help="the figures, as JSON")
    add_call_arguments(gpu)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
