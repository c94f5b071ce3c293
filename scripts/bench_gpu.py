#!/usr/bin/env python3
"""Kernels and engine on one GPU, in two calls: an 8B Llama's shape with random bfloat16 weights made on the device.

    scripts/bench_gpu.py first --out DIRECTORY             # at most 530 s
    scripts/bench_gpu.py second --out DIRECTORY --way WAY  # at most 175 s; WAY: what the first one's end says
    scripts/bench_gpu.py first --out DIRECTORY --quick     # tiny shapes on any machine, to see that it runs

The first: a gate (small steps against float32, with command buffers off and on), attention's cases, each kernel alone,
other block sizes, ncu's counters, then the engine: time per output token of one sequence and of 64, the same without
command buffers, offline throughput. The second: mean lengths 161/338 beside transformers' generate, other ways to
compile a step, other shapes of attention, and last cuDNN and torch.
Each part runs in a child under a timeout; one that fails, hangs or comes too late is noted, and the next one runs.
DIRECTORY gets CALL.json, whole after every part, log.txt, thunks.txt, XLA's autotuning results and the device's
target description. Exits with 1 when a part has failed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]


def main() -> int:
    from gpu.main import add_call_arguments, run_call  # imports no jax: a parent must not touch the card

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("call", choices=("first", "second"))
    parser.add_argument("--out", type=Path, required=True, metavar="DIRECTORY")
    add_call_arguments(parser)
    options = parser.parse_args()
    options.out /= f"{options.call}.json"
    return run_call(options.call, options)


if __name__ == "__main__":
    sys.exit(main())
