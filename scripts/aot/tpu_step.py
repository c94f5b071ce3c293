#!/usr/bin/env python3
"""Compile whole steps of an 8B Llama for TPUs that this machine does not have, and check what came out.

    scripts/aot/tpu_step.py [--case v6e-1-64 ...]

Needs jax's libtpu beside what the engine needs. For decode (64 tokens) and prefill (2,048 tokens) steps on one and four
chips it asserts: the Mosaic kernels are in the layer loop, the pool is aliased, nothing that holds as much as a weight
or a layer of the pool is produced, temporaries are bounded, and layers have two all-reduces when split.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TPU_SKIP_MDS_QUERY"] = "1"
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

KERNELS = ("paged_attention_decode", "paged_attention_write", "paged_attention_chunk")


@dataclass(frozen=True)
class Case:
    """A topology, the chips that share the model, and the tokens of the step."""

    topology: str
    split: int
    tokens: int
    temporaries: int  # bytes


CASES = {
    f"v6e-{split}-{tokens}": Case("v6e:2x2", split, tokens, temporaries)
    for split in (1, 4)
    for tokens, temporaries in ((64, 32 << 20), (2048, 512 << 20))
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    failures = 0
    for name in parser.parse_args().case:
        started = time.monotonic()
        facts, problems = check(CASES[name])
        failures += bool(problems)
        print(f"{name:10} {facts}  {time.monotonic() - started:5.1f} s  {'; '.join(problems) or 'ok'}", flush=True)
    return 1 if failures else 0


def check(case: Case) -> tuple[str, list[str]]:
    """Compile one backbone step: a line about it, and what is wrong with it."""
    import jax

    from jaxpaged.execution.compiler import lower
    from scripts.aot.hlo import collectives, produced
    from scripts.aot_check import Target, backbone

    program, pool_bytes = backbone(Target(case.topology, case.split, "scan", "tpu"), case.tokens)
    leaves = program.arguments[0]
    (pool,) = program.arguments[1]
    with jax.sharding.use_abstract_mesh(leaves[0].sharding.mesh.abstract_mesh):
        compiled = lower(program).compile()
    memory, text = compiled.memory_analysis(), compiled.as_text()
    large = {math.prod(leaf.shape[1:]) // case.split for leaf in leaves if math.prod(leaf.shape[1:]) >= 4096 * 4096}
    large |= {math.prod(pool.shape) // case.split, math.prod(pool.shape[1:]) // case.split}
    reduces = collectives(text)["all-reduce"]
    problems = [f"produces {line}" for line in produced(text, large, tokens=case.tokens)[:3]]
    problems += [f"{name} is not there" for name in KERNELS if name not in text]
    if memory.alias_size_in_bytes < pool_bytes:
        problems.append("the pool is not aliased")
    if memory.temp_size_in_bytes > case.temporaries:
        problems.append(f"temporaries above {case.temporaries >> 20} MiB")
    # The layers are one loop body; outside stands at most the embedding's.
    if not (2 <= reduces <= 3 if case.split > 1 else reduces == 0):
        problems.append("expected two all-reduces in the layer, and at most one outside")
    facts = f"temp {memory.temp_size_in_bytes / 2**20:6.1f} MiB  pool {pool_bytes / 2**30:.1f} GiB  reduces {reduces}"
    return facts, problems


if __name__ == "__main__":
    sys.exit(main())
