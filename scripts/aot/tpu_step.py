#!/usr/bin/env python3
"""Compile whole steps of an 8B Llama for TPUs that this machine does not have, and check what came out.

    scripts/aot/tpu_step.py [--case v6e-1-64 ...]

Needs jax's libtpu beside what the engine needs. For decode (64 tokens) and prefill (512 tokens) steps on one and four
chips it asserts: the Mosaic kernels are in the layer loop, the pool is aliased, nothing that holds as much as a weight
or a layer of the pool is produced, temporaries are bounded, and layers have two all-reduces when split.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TPU_SKIP_MDS_QUERY"] = "1"
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

KERNELS = ("paged_attention_decode", "paged_attention_write", "paged_attention_chunk")
# What passes a buffer on without producing it. The kernels' custom calls and the loop alias theirs.
PASSING = {"parameter", "get-tuple-element", "tuple", "bitcast", "while", "conditional", "custom-call", "opt-barrier"}
# Weights that are brought to vector memory while something else is computed.
PREFETCHING = {"copy-start", "copy-done", "slice-start", "slice-done", "async-start", "async-done"}
INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = (?P<type>\(.*?\)|\w+\[[\d,]*\]\S*) (?P<op>[\w-]+)\(")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?(?P<name>[\w.-]+) \(.*\{\s*$")
SHAPE = re.compile(r"(?:bf16|f32|s32|u32|s8|u8|f8\w+)\[(?P<dims>[\d,]*)\]")


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
    for tokens, temporaries in ((64, 32 << 20), (512, 128 << 20))
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

    from aot_check import Target, backbone
    from jaxpaged.execution.compiler import lower

    program, pool_bytes, _ = backbone(Target(case.topology, case.split, "scan", "tpu"), case.tokens)
    leaves = program.arguments[0]
    (pool,) = program.arguments[1]
    with jax.sharding.use_abstract_mesh(leaves[0].sharding.mesh.abstract_mesh):
        compiled = lower(program).compile()
    memory, text = compiled.memory_analysis(), compiled.as_text()
    large = {math.prod(leaf.shape[1:]) // case.split for leaf in leaves if math.prod(leaf.shape[1:]) >= 4096 * 4096}
    large |= {math.prod(pool.shape) // case.split, math.prod(pool.shape[1:]) // case.split}
    produced = [line for line in products(text) if any(size in large for size in sizes(line))]
    reduces = len(re.findall(r"= \S+ all-reduce(?:-start)?\(", text))
    problems = [f"produces {line}" for line in produced[:3]]
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


def products(text: str) -> Iterator[str]:
    """Results that are written to memory: those of instructions outside of fusions. As `operation type`."""
    fused = set(re.findall(r"calls=%?([\w.-]+)", text))
    computation = ""
    for line in text.splitlines():
        if found := COMPUTATION.match(line):
            computation = found["name"]
        elif (found := INSTRUCTION.match(line)) and computation not in fused and found["op"] not in PASSING:
            yield f"{found['op']} {found['type']}"


def sizes(product: str) -> Sequence[int]:
    """Elements of each array, those that are prefetched aside."""
    if product.split()[0] in PREFETCHING and "S(1)" in product:
        return []
    return [math.prod(int(n) for n in found["dims"].split(",") if n) for found in SHAPE.finditer(product)]


if __name__ == "__main__":
    sys.exit(main())
