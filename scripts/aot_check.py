#!/usr/bin/env python3
"""Compile the whole step for accelerators that this machine does not have, and check what came out.

    scripts/aot_check.py [--target v5e h200x4 ...] [--tokens 64 2048] [--layers 32]

Needs an environment with the compile wheels (scripts/check_accelerators makes it); no device is touched. For an 8B
Llama shape, a decoding step of 64 tokens with its head and a prefill step of 2,048, it asserts: the pool and the buffer
of the logits are aliased, nothing that holds as much as a weight, the pool or a layer of it is produced, temporaries
are bounded, the kernels are there, and the layers hold exactly two all-reduces each when the model is split.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TPU_SKIP_MDS_QUERY"] = "1"
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # no cuDNN is needed to compile
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.aot import thunks, traffic
from scripts.aot.hlo import collectives, is_copy, produced, size_of
from scripts.aot.thunks import Thunk

__all__ = ["H200", "Target", "backbone", "is_copy", "size_of", "use_cuda_wheels"]


def use_cuda_wheels() -> None:
    """Point XLA at ptxas and libdevice of the nvcc and nvvm wheels, before jax starts."""
    import nvidia  # the namespace package of the CUDA wheels

    toolkit = Path(next(iter(nvidia.__path__))) / "cu13"
    os.environ["XLA_FLAGS"] = f"--xla_gpu_cuda_data_dir={toolkit}"
    os.environ["PATH"] = f"{toolkit / 'bin'}{os.pathsep}{os.environ['PATH']}"


CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256,
    "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu",
    "tie_word_embeddings": False,
}  # fmt: skip
# Without the driver's version XLA takes it for 0, and then leaves custom calls and cuBLAS out of command buffers.
GPU = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: {cores} fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth} l2_cache_size: 62914560 clock_rate_ghz: 1.98 device_memory_size: {memory}
  shared_memory_per_block_optin: 232448 cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  driver_version: "13.0.0" runtime_version: "13.0.0"
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 12 }} runtime_version {{ major: 13 }}
device_description_str: "{name}"
"""
H200 = GPU.format(cores=132, bandwidth=4800000000000, memory=150754820096, major=9, minor=0, name="NVIDIA H200")
A100 = GPU.format(cores=108, bandwidth=2039000000000, memory=85899345920, major=8, minor=0, name="NVIDIA A100")
L4 = GPU.format(cores=58, bandwidth=300000000000, memory=25769803776, major=8, minor=9, name="NVIDIA L4")
B200 = GPU.format(cores=148, bandwidth=8000000000000, memory=193273528320, major=10, minor=0, name="NVIDIA B200")


@dataclass(frozen=True)
class Target:
    """A topology to compile for. `split`: devices that share the model; `loop`: how its layers are run.

    layout: of the KV pool, which says what serves attention. device: the description of a GPU. head: whether the
    head's programs are compiled too; they hold no kernel of ours, so some targets stand for the others.
    """

    topology: str
    split: int
    loop: str
    layout: str
    device: str = ""
    head: bool = False
    tokens: tuple[int, ...] = (64, 2048)


TARGETS = {
    "h200": Target("1x1x1", 1, "unroll", "hopper", H200, head=True, tokens=(8, 64, 2048)),
    "h200x4": Target("1x1x4", 4, "unroll", "hopper", H200, head=True),
    "a100": Target("1x1x1", 1, "unroll", "gpu", A100),
    "l4": Target("1x1x1", 1, "unroll", "gpu", L4),
    "b200": Target("1x1x1", 1, "unroll", "gpu", B200),
    "v5e": Target("v5e:2x2", 4, "scan", "tpu"),
    "v6e": Target("v6e:2x2", 1, "scan", "tpu", head=True),
}


TEMPORARIES = {8: 32 << 20, 64: 64 << 20, 2048: 512 << 20}  # most bytes of a backbone by its tokens
HEAD_TEMPORARIES = 256 << 20  # of logits, or of sampling, for 64 rows
HEAD_ROWS = 64
# Of a layer without chunks: 4 of attention (keys and values to the pool, queries, decode, merge), and 9 of the rest (4
# products, 2 norms, 2 sums, the activation).
THUNKS = 13
POOL = 1 << 15  # layers times pages, 4 GiB: more than the temporaries may be, even of a fourth, so a copy of it shows


@dataclass(frozen=True)
class Report:
    """A compiled program: bytes, large results that it writes, exchanges, kernels, seconds to compile."""

    temporaries: int
    aliased: int
    large: tuple[str, ...]
    exchanges: dict[str, int]
    mosaic_kernels: int
    thunks: tuple[Thunk, ...]  # of a GPU
    text: str  # the optimised HLO
    seconds: float

    def __str__(self) -> str:
        exchanges = ", ".join(f"{count} {kind}" for kind, count in sorted(self.exchanges.items())) or "no exchange"
        return (
            f"temp {self.temporaries / 2**20:6.1f} MiB  aliased {self.aliased / 2**30:5.2f} GiB  "
            f"kernels {self.mosaic_kernels:3}  {exchanges}  {self.seconds:5.1f} s"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--tokens", nargs="+", type=int, choices=TEMPORARIES, help="default: the target's")
    parser.add_argument("--layers", type=int, default=32, help="fewer compile faster; what is checked is per layer")
    args = parser.parse_args()
    if any(TARGETS[name].device for name in args.target):
        use_cuda_wheels()
    CONFIG["num_hidden_layers"] = args.layers
    failures = 0
    for name in args.target:
        for tokens in args.tokens or TARGETS[name].tokens:
            for label, report, problems in check(TARGETS[name], tokens):
                failures += bool(problems)
                print(f"{name:7} {label:16} {report}  {'; '.join(problems) or 'ok'}", flush=True)
    return 1 if failures else 0


def check(target: Target, tokens: int) -> Iterator[tuple[str, Report, list[str]]]:
    """Compile the backbone, and the head's programs with that of a decoding step; yields what is wrong with each."""
    programs, pool_bytes = step_programs(target, tokens)
    backbone = programs.backbone(tokens)
    large = large_arrays(target, backbone)
    pool = math.prod(backbone.arguments[1][0].shape) // target.split
    report = compile_report(backbone, large, tokens, pool)
    problems = backbone_problems(target, report, tokens, pool_bytes)
    if target.layout == "hopper" and target.split == 1 and tokens <= HEAD_ROWS:
        layers = CONFIG["num_hidden_layers"]
        stacked = [leaf for leaf in backbone.arguments[0] if len(leaf.shape) > 1 and leaf.shape[0] == layers]
        moved = traffic.of_a_layer(report.text, layers, 2, pool)
        problems += moved.problems(sum(2 * math.prod(leaf.shape[1:]) for leaf in stacked))
        print(f"        a layer: {moved}, {thunks.a_layer(report.thunks, 2)} thunks", flush=True)
    yield f"backbone {tokens}", report, problems
    if tokens != HEAD_ROWS or not target.head:
        return
    from jaxpaged.sampling.variant import Variant

    logits = programs.logits(HEAD_ROWS)
    report = compile_report(logits, large, tokens)
    buffer = logits.arguments[1]
    buffer_bytes = 4 * math.prod(buffer.sharding.shard_shape(buffer.shape))
    yield "logits", report, head_problems(report, aliased=buffer_bytes, exchanges={})
    report = compile_report(programs.sample(Variant.PLAIN, HEAD_ROWS), large, tokens)
    yield "sample", report, head_problems(report, aliased=0, exchanges=None)


def backbone_problems(target: Target, report: Report, tokens: int, pool_bytes: int) -> list[str]:
    layers = CONFIG["num_hidden_layers"] if target.loop == "unroll" else 1
    problems = [f"produces {line}" for line in report.large[:3]]
    if report.aliased < pool_bytes:
        problems.append("the pool is not aliased")
    if report.temporaries > TEMPORARIES[tokens]:
        problems.append(f"temporaries above {TEMPORARIES[tokens] >> 20} MiB")
    if target.layout == "hopper":
        calls, most = (2, THUNKS) if tokens <= HEAD_ROWS else (3, None)
        problems += [] if target.split > 1 else thunks.problems(report.thunks, calls, layers, most)
        if report.mosaic_kernels != calls * layers:
            problems.append(f"{report.mosaic_kernels} Mosaic kernels, not {calls} a layer")
    expected = 2 * layers if target.split > 1 else 0
    # Outside of the layers stands at most the embedding's.
    if not expected <= report.exchanges.get("all-reduce", 0) <= expected + (target.split > 1):
        problems.append(f"expected {expected} all-reduces in the layers and at most one outside")
    if others := set(report.exchanges) - {"all-reduce"}:
        problems.append(f"exchanges by {', '.join(sorted(others))} too")
    return problems


def head_problems(report: Report, *, aliased: int, exchanges: dict[str, int] | None) -> list[str]:
    """`exchanges`: what is expected, None: anything."""
    problems = [f"produces {line}" for line in report.large[:3]]
    if report.aliased < aliased:
        problems.append("the buffer of the logits is not aliased")
    if report.temporaries > HEAD_TEMPORARIES:
        problems.append(f"temporaries above {HEAD_TEMPORARIES >> 20} MiB")
    if exchanges is not None and report.exchanges != exchanges:
        problems.append(f"exchanges {report.exchanges}, not {exchanges}")
    return problems


def large_arrays(target: Target, backbone: Any) -> set[int]:
    """Elements, on one device, of each large weight (of one layer, and of all that are stacked), and of the pool."""
    leaves, (pool,) = backbone.arguments[:2]
    shapes = [pool.shape, pool.shape[1:], *(leaf.shape for leaf in leaves), *(leaf.shape[1:] for leaf in leaves)]
    sizes = {math.prod(shape) // target.split for shape in shapes}
    return {size for size in sizes if size >= 4096 * 4096 // target.split}


def backbone(target: Target, tokens: int) -> tuple[Any, int]:
    """The backbone program of the target, and the bytes of its pool on one device."""
    programs, pool_bytes = step_programs(target, tokens)
    return programs.backbone(tokens), pool_bytes


def step_programs(target: Target, tokens: int) -> tuple[Any, int]:
    """The target's programs up to `tokens` tokens and 64 rows, and the bytes of its pool on one device."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.experimental import topologies

    from jaxpaged.decoder.functional import build_decoder
    from jaxpaged.execution.batch import BatchLimits
    from jaxpaged.execution.buckets import DECODES_ONLY, Buckets
    from jaxpaged.execution.programs import ProgramSet
    from jaxpaged.execution.step import StepFunctions
    from jaxpaged.kv.pool import PoolGeometry
    from jaxpaged.kv.spec import cache_groups
    from jaxpaged.models.registry import spec_from_config
    from jaxpaged.sampling.sampler import Sampler
    from jaxpaged.sharding.rules import sharding_of
    from pallas_kernels.paged_attention import pool_layout

    if target.device:
        described = topologies.get_topology_desc(platform="cuda", target_config=target.device, topology=target.topology)
    else:
        described = topologies.get_topology_desc(topology_name=target.topology, platform="tpu")
    devices = np.array(described.devices[: target.split]).reshape(1, target.split)
    mesh = jax.sharding.Mesh(devices, ("data", "model"))
    spec = spec_from_config(CONFIG)
    decoder = build_decoder(spec, dtype=jnp.bfloat16, tensor_parallel=target.split, layer_loop=target.loop)
    groups = cache_groups(decoder.layer_caches())
    pool = PoolGeometry(groups, pool_layout(target.layout), 32, jnp.dtype(jnp.bfloat16), mesh)
    pages = (POOL // CONFIG["num_hidden_layers"],)
    limits = BatchLimits(64, 65, 8193, spec.vocab_size, pages, (256,), 32)
    leaves = tuple(
        jax.ShapeDtypeStruct(info.shape, info.dtype, sharding=sharding_of(mesh, info.axes)) for info in decoder.params
    )
    functions = StepFunctions(decoder, Sampler(spec.vocab_size), mesh, pool)
    # A size is the engine's own only beside larger ones: the largest holds every kind of step.
    buckets = Buckets.for_limits(max(TEMPORARIES), 64, decodes_only=DECODES_ONLY.get(target.layout, 0))
    programs = ProgramSet(functions, buckets, limits, leaves, pool.abstract(pages))
    return programs, pages[0] * pool.page_bytes(0)


def compile_report(program: Any, large: set[int], tokens: int, updated: int = 0) -> Report:
    """Compile and read the optimised HLO; the other arguments are those of aot/hlo.produced()."""
    import jax

    from jaxpaged.execution.compiler import lower

    started = time.monotonic()
    mesh = jax.tree.leaves(program.arguments)[0].sharding.mesh
    is_gpu = mesh.devices.flat[0].platform == "gpu"
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh), tempfile.TemporaryDirectory() as dump:
        compiled = lower(program).compile(compiler_options={"xla_dump_to": dump} if is_gpu else {})
        listed = tuple(thunks.dumped(dump))
    memory, text = compiled.memory_analysis(), compiled.as_text()
    return Report(
        temporaries=memory.temp_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        large=tuple(produced(text, large, tokens=tokens, updated=updated)),
        exchanges=dict(collectives(text)),
        mosaic_kernels=text.count('custom_call_target="mosaic_gpu'),
        thunks=listed,
        text=text,
        seconds=time.monotonic() - started,
    )


if __name__ == "__main__":
    sys.exit(main())
