#!/usr/bin/env python3
"""Compile paged attention for a Hopper GPU that this machine does not have: every model's shape.

    scripts/aot/gpu_kernels.py [--case llama8b ...]

Needs jax and the CUDA compile wheels only. Asserts that the three Mosaic kernels are in the program, that ptxas spills
no register (SPILLS lists the exceptions, with the reason), that the donated pool is aliased and never copied.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts import aot_check  # sets up the environment that jax is started in

aot_check.use_cuda_wheels()
os.environ["MOSAIC_GPU_DUMP_PTXAS"] = "1"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import Mesh, NamedSharding, PartitionSpec  # noqa: E402

from pallas_kernels.paged_attention import Sequences, pool_layout  # noqa: E402
from pallas_kernels.paged_attention.config import MULTIPROCESSORS, ChunkConfig  # noqa: E402
from pallas_kernels.paged_attention.example_specs import MODEL_SPECS, Spec  # noqa: E402
from pallas_kernels.paged_attention.mosaic_gpu import attention as mosaic_gpu  # noqa: E402

LAYOUT = pool_layout("hopper")
KERNELS = 3  # decode, merge, chunk
BY_NAME = {spec.name: spec for spec in MODEL_SPECS}
IN_REGISTERS = ChunkConfig(weights_in_registers=True)
SPILLS = {
    **dict.fromkeys(
        ("gemma2", "gemma2_fp8"),
        "sums of 64 rows x 256 columns are 128 registers a thread, and interpretable products add 32 more",
    ),
    "phi3_page16_fp8": "a producer of 56 registers that widens tiles and starts 8 copies for each",
}


@dataclass(frozen=True)
class Case:
    """A step: padded tokens, width of the metadata, pages of a row of the page table."""

    spec: Spec
    tokens: int = 512
    sequences: int = 64
    table_width: int = 256
    stored: str = "bfloat16"  # the pool's dtype
    chunk: ChunkConfig = mosaic_gpu.CHUNK


CASES = {name: Case(spec) for name, spec in BY_NAME.items()} | {
    # 131,072 tokens a sequence in pages of 16, 256 sequences, the largest step.
    "longest": Case(Spec("llama8b_page16", 32, 8, 128, page_size=16), 8192, 256, 8192),
    **{f"{name}_fp8": Case(spec, stored="float8_e4m3fn") for name, spec in BY_NAME.items()},
    "llama8b_e5m2": Case(BY_NAME["llama8b"], stored="float8_e5m2"),
    # What a run on a card may choose: weights and sums of the second product in registers, three stages of 128 keys.
    **{f"{name}_registers": Case(spec, chunk=IN_REGISTERS) for name, spec in BY_NAME.items()},
    "llama8b_fp8_registers": Case(BY_NAME["llama8b"], stored="float8_e4m3fn", chunk=IN_REGISTERS),
    # Smaller tiles and a longer ring than the default, which has two stages with heads of 128.
    **{f"llama8b_64x{n}": Case(BY_NAME["llama8b"], chunk=ChunkConfig(tile=64, max_stages=n)) for n in (3, 5)},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    failures = 0
    for name in parser.parse_args().case:
        started = time.monotonic()
        problems, facts = check(name, CASES[name])
        failures += bool(problems)
        took = time.monotonic() - started
        print(f"h200 {name:16} {took:5.1f} s  {facts}  {'; '.join(problems) or 'ok'}", flush=True)
    return 1 if failures else 0


def check(name: str, case: Case) -> tuple[list[str], str]:
    """What is wrong with the compiled program, and its registers and temporaries."""
    described = topologies.get_topology_desc(platform="cuda", target_config=aot_check.H200, topology="1x1x1")
    mesh = Mesh(np.array(described.devices[:1]), ("x",))
    args, options = arguments(case, NamedSharding(mesh, PartitionSpec()))

    def step(*args, **options):
        options = {"alibi_slopes": None, "sinks": None} | options
        return mosaic_gpu.paged_attention(*args, score=case.spec.score, layout=LAYOUT, chunk=case.chunk, **options)

    with captured_output() as read, jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        traced = jax.jit(step, donate_argnums=3).trace(*args, **options)
        compiled = traced.lower(lowering_platforms=("cuda",)).compile()
        report = read()
    memory, text = compiled.memory_analysis(), compiled.as_text()
    registers = re.findall(r"Used (\d+) registers", report)
    spills = [int(n) for n in re.findall(r"frame, (\d+) bytes spill stores", report) if int(n)]
    pool_bytes = args[3].size * args[3].dtype.itemsize
    problems = []
    if text.count('custom_call_target="mosaic_gpu') != KERNELS:
        problems.append(f"not {KERNELS} Mosaic kernels")
    if len(registers) != KERNELS:
        problems.append(f"ptxas reported on {len(registers)} kernels")
    if bool(spills) != (name in SPILLS):
        problems.append(f"spills {spills} bytes")
    if memory.alias_size_in_bytes < pool_bytes:
        problems.append("the pool is not aliased")
    large = [line for line in text.splitlines() if aot_check.is_copy(line) and aot_check.size_of(line) >= pool_bytes]
    if large:
        problems.append(f"copies the pool: {large[0].strip()[:80]}")
    problems += decode_problems(case, registers, memory.temp_size_in_bytes)
    spilled = f", {sum(spills)} bytes spilled" if spills else ""
    return problems, f"registers {'/'.join(registers)}{spilled}, temp {memory.temp_size_in_bytes / 2**20:.0f} MiB"


def decode_problems(case: Case, registers: list[str], temporaries: int) -> list[str]:
    """Temporaries, which an engine's memory plan counts, hold what splits leave; and two blocks find registers."""
    spec, config = case.spec, mosaic_gpu.DECODE
    head_dim, group = spec.head_dim + -spec.head_dim % LAYOUT.head_multiple, spec.q_heads // spec.kv_heads
    columns, context = group + -group % mosaic_gpu.COLUMNS, case.table_width * spec.page_size
    splits = -(-context // config.keys_per_split(context))
    # What their softmax needs may lie in the outputs.
    kept = min(case.tokens, case.sequences) * splits * spec.kv_heads * head_dim * columns * 4
    problems = [] if temporaries >= kept else [f"temporaries without the {kept >> 20} MiB of the splits"]
    two = config.blocks_for(columns, head_dim, 2, jnp.dtype(case.stored).itemsize) > MULTIPROCESSORS
    if two and registers and int(registers[0]) > 128:
        problems.append(f"{registers[0]} registers leave no room for a second block a multiprocessor")
    return problems


def arguments(case: Case, here: NamedSharding) -> tuple[list[Any], dict[str, jax.ShapeDtypeStruct]]:
    spec = case.spec
    pool = LAYOUT.shape(layers=2, pages=16384, page_size=spec.page_size, kv_heads=spec.kv_heads, head_dim=spec.head_dim)
    new = (case.tokens, spec.kv_heads, spec.head_dim)
    floats = [(case.tokens, spec.q_heads, spec.head_dim), new, new]
    integers = [(), (case.sequences, case.table_width), (case.sequences,), (case.sequences + 1,), (3,)]
    shapes = [*((shape, jnp.bfloat16) for shape in floats), (pool, jnp.dtype(case.stored))]
    shapes += [(shape, jnp.int32) for shape in integers]
    arrays = [jax.ShapeDtypeStruct(shape, dtype, sharding=here) for shape, dtype in shapes]
    args = [*arrays[:5], Sequences(*arrays[5:])]
    per_head = jax.ShapeDtypeStruct((spec.q_heads,), jnp.float32, sharding=here)
    options = {name: per_head for name, used in (("alibi_slopes", spec.alibi), ("sinks", spec.sinks)) if used}
    return args, options


@contextmanager
def captured_output() -> Iterator[Callable[[], str]]:
    """What this process writes to its standard output, C++ included: ptxas reports there."""
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)

        def read() -> str:
            sys.stdout.flush()
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield read
        finally:
            os.dup2(kept, 1)
            os.close(kept)


if __name__ == "__main__":
    sys.exit(main())
