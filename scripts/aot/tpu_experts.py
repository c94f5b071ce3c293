#!/usr/bin/env python3
"""Compile the experts' grouped products for TPUs that this machine does not have.

    scripts/aot/tpu_experts.py [--target v5e v6e ...]

Needs jax and libtpu only. Asserts that the kernel is in the program and that nothing as large as the experts' weights,
or as all rows times all experts, is made beside it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.aot.tpu_kernels import TARGETS  # isort: skip; it sets the environment that libtpu reads

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pallas_kernels.grouped_matmul import grouped_matmul

# Rows, experts, outputs and inputs of first products: Qwen3-30B-A3B, DeepSeek-V3 and Mixtral on 8 devices. gpt-oss is
# not among them: its 2,880 inputs are no multiple of 128, so XLA keeps the weights transposed and copies them.
CASES = {
    "qwen3_30b_decode": (64 * 8, 128, 2 * 768, 2048),
    "qwen3_30b_prefill": (2048 * 8, 128, 2 * 768, 2048),
    "deepseek_v3_8": (64 * 8, 256, 2 * 2048 // 8, 7168),
    "mixtral": (64 * 2, 8, 2 * 14336 // 8, 4096),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=["v5e", "v6e", "tpu7x"])
    failures = 0
    for target in parser.parse_args().target:
        for name, sizes in CASES.items():
            problems = check(TARGETS[target], *sizes)
            failures += bool(problems)
            print(f"{target:6} {name:18} {'; '.join(problems) or 'ok'}", flush=True)
    return 1 if failures else 0


def check(topology: str, rows: int, experts: int, outputs: int, inputs: int) -> list[str]:
    """What is wrong with the compiled program."""
    device = topologies.get_topology_desc(topology_name=topology, platform="tpu").devices[0]
    mesh = Mesh(np.array([device]), ("x",))
    here = NamedSharding(mesh, PartitionSpec())
    shapes = ((rows, inputs), "bfloat16"), ((experts, outputs, inputs), "bfloat16"), ((experts,), "int32")
    args = [jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=here) for shape, dtype in shapes]
    product = jax.jit(lambda x, w, sizes: grouped_matmul(x, w, sizes, implementation="mosaic_tpu"))
    try:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            compiled = product.trace(*args).lower(lowering_platforms=("tpu",)).compile()
    except jax.errors.JaxRuntimeError as error:
        return [str(error).splitlines()[0]]
    text, memory = compiled.as_text(), compiled.memory_analysis()
    problems = [] if "tpu_custom_call" in text else ["the kernel is not there"]
    padded = 4 * (rows + 128) * (outputs + inputs)
    if memory.temp_size_in_bytes > padded:
        problems.append(f"{memory.temp_size_in_bytes:,} bytes of temporaries, more than {padded:,}")
    return problems


if __name__ == "__main__":
    sys.exit(main())
