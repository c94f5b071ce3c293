#!/usr/bin/env python3
"""Compile paged attention for TPUs that this machine does not have: every model's shape on every generation.

    scripts/aot/tpu_kernels.py [--target v5e v6e ...] [--case llama8b ...]

Needs jax and libtpu only. Asserts that the three Mosaic kernels are in the program, that they fit into vector and
scalar memory (the compiler refuses them otherwise) and that the donated pool is aliased.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TPU_SKIP_MDS_QUERY"] = "1"
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pallas_kernels.paged_attention import Sequences, paged_attention, pool_layout
from pallas_kernels.paged_attention.example_specs import MODEL_SPECS, Spec

TARGETS = {"v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2", "tpu7x": "tpu7x:2x2x1"}
KERNELS = ("paged_attention_decode", "paged_attention_write", "paged_attention_chunk")
BY_NAME = {spec.name: spec for spec in MODEL_SPECS}


@dataclass(frozen=True)
class Case:
    """A step: padded tokens, width of the metadata, pages of a row of the page table; the pool's dtype."""

    spec: Spec
    tokens: int = 64
    sequences: int = 64
    table_width: int = 256
    dtype: str = "bfloat16"


CASES = {name: Case(spec) for name, spec in BY_NAME.items()} | {
    "llama8b_fp8": Case(BY_NAME["llama8b"], dtype="float8_e4m3fn"),
    # 131,072 tokens a sequence in pages of 16, 256 sequences, the largest step. Scalar memory follows from these alone;
    # vector memory from the layer's shape alone, which the cases above vary.
    "longest": Case(Spec("llama8b_page16", 32, 8, 128, page_size=16), 8192, 256, 8192),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    args = parser.parse_args()
    failures = 0
    for target in args.target:
        for name in args.case:
            started = time.monotonic()
            problems = check(TARGETS[target], CASES[name])
            failures += bool(problems)
            print(
                f"{target:6} {name:16} {time.monotonic() - started:5.1f} s  {'; '.join(problems) or 'ok'}", flush=True
            )
    return 1 if failures else 0


def check(topology: str, case: Case) -> list[str]:
    """What is wrong with the compiled program."""
    device = topologies.get_topology_desc(topology_name=topology, platform="tpu").devices[0]
    mesh = Mesh(np.array([device]), ("x",))
    here = NamedSharding(mesh, PartitionSpec())
    args, options = arguments(case, here)
    layout = pool_layout("tpu")

    def step(*args, **options):
        result = paged_attention(*args, score=case.spec.score, layout=layout, implementation="mosaic_tpu", **options)
        # A conditional as a program's last operation would lose the aliasing of what it returns.
        return result.out.reshape(case.tokens, -1), result.pool

    jitted = jax.jit(step, donate_argnums=3, out_shardings=here)
    try:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            compiled = jitted.trace(*args, **options).lower(lowering_platforms=("tpu",)).compile()
    except jax.errors.JaxRuntimeError as error:
        return [str(error).splitlines()[0]]
    text, aliased = compiled.as_text(), compiled.memory_analysis().alias_size_in_bytes
    problems = [f"{name} is not there" for name in KERNELS if name not in text]
    if aliased < args[3].size * args[3].dtype.itemsize:
        problems.append(f"of the pool's bytes {aliased} are aliased")
    return problems


def arguments(case: Case, here: NamedSharding) -> tuple[list[Any], dict[str, jax.ShapeDtypeStruct]]:
    spec = case.spec
    pool = pool_layout("tpu").shape(
        layers=2, pages=4096, page_size=spec.page_size, kv_heads=spec.kv_heads, head_dim=spec.head_dim
    )
    new = (case.tokens, spec.kv_heads, spec.head_dim)
    floats = [((case.tokens, spec.q_heads, spec.head_dim), "bfloat16"), (new, "bfloat16"), (new, "bfloat16")]
    integers = [(), (case.sequences, case.table_width), (case.sequences,), (case.sequences + 1,), (3,)]
    shapes = [*floats, (pool, case.dtype), *((shape, "int32") for shape in integers)]
    arrays = [jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=here) for shape, dtype in shapes]
    args = [*arrays[:5], Sequences(*arrays[5:])]
    per_head = jax.ShapeDtypeStruct((spec.q_heads,), jnp.float32, sharding=here)
    options = {name: per_head for name, used in (("alibi_slopes", spec.alibi), ("sinks", spec.sinks)) if used}
    return args, options


if __name__ == "__main__":
    sys.exit(main())
