#!/usr/bin/env python3
"""Compile the whole step for accelerators that this machine does not have, and check what came out.

    scripts/aot_check.py [--target v5e h200x4 ...] [--tokens 64] [--layers 32]

Needs an environment with the compile wheels (scripts/check_accelerators makes it); no device is touched. For an 8B
Llama shape it asserts: the pool is aliased, nothing the size of a weight or of the pool is copied, the temporaries are
bounded, and the layers hold exactly two all-reduces each when the model is split over devices.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TPU_SKIP_MDS_QUERY"] = "1"
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # no cuDNN is needed to compile
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


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
GPU = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: {cores} fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth} l2_cache_size: 62914560 clock_rate_ghz: 1.98 device_memory_size: {memory}
  shared_memory_per_block_optin: 232448 cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
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

    layout: of the KV pool, which says what serves attention. device: the description of a GPU.
    """

    topology: str
    split: int
    loop: str
    layout: str
    device: str = ""


TARGETS = {
    "h200": Target("1x1x1", 1, "unroll", "hopper", H200),
    "h200x4": Target("1x1x4", 4, "unroll", "hopper", H200),
    "a100": Target("1x1x1", 1, "unroll", "gpu", A100),
    "l4": Target("1x1x1", 1, "unroll", "gpu", L4),
    "b200": Target("1x1x1", 1, "unroll", "gpu", B200),
    "v5e": Target("v5e:2x2", 4, "scan", "tpu"),
    "v6e": Target("v6e:2x2", 1, "scan", "tpu"),
}


@dataclass(frozen=True)
class Report:
    """What a compiled step looks like: bytes, how often values are copied or reduced, seconds to compile."""

    temporaries: int
    aliased: int
    large_copies: tuple[str, ...]
    all_reduces: int
    mosaic_kernels: int
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--layers", type=int, default=32, help="fewer compile faster; what is checked is per layer")
    args = parser.parse_args()
    if any(TARGETS[name].device for name in args.target):
        use_cuda_wheels()
    CONFIG["num_hidden_layers"] = args.layers
    failures = 0
    for name in args.target:
        report, problems = check(TARGETS[name], args.tokens)
        failures += bool(problems)
        print(
            f"{name:8} temp {report.temporaries / 2**20:8.1f} MiB  aliased {report.aliased / 2**30:6.2f} GiB  "
            f"all-reduces {report.all_reduces:3}  large copies {len(report.large_copies):2}  {report.seconds:5.1f} s  "
            f"{'; '.join(problems) or 'ok'}",
            flush=True,
        )
    return 1 if failures else 0


def check(target: Target, tokens: int) -> tuple[Report, list[str]]:
    """Compile one backbone step and list what is wrong with it."""
    program, pool_bytes, weight_bytes = backbone(target, tokens)
    report = compile_report(target, program, min(pool_bytes, weight_bytes))
    layers = CONFIG["num_hidden_layers"] if target.loop == "unroll" else 1
    expected = 2 * layers if target.split > 1 else 0
    problems = [f"copies {line}" for line in report.large_copies[:3]]
    if report.aliased < pool_bytes:
        problems.append("the pool is not aliased")
    if report.temporaries > 512 << 20:
        problems.append("temporaries above 512 MiB")
    if target.layout == "hopper" and report.mosaic_kernels != 3 * layers:
        problems.append(f"{report.mosaic_kernels} Mosaic kernels, not 3 a layer")
    if target.split > 1 and not expected <= report.all_reduces <= expected + 2:
        problems.append(f"expected {expected} all-reduces in the layers and at most 2 outside")
    return report, problems


def backbone(target: Target, tokens: int):
    """The backbone program of the target, the bytes of its pool and of its smallest large weight on one device."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.experimental import topologies

    from jaxpaged.execution.batch import BatchLimits
    from jaxpaged.execution.buckets import Buckets
    from jaxpaged.execution.programs import ProgramSet
    from jaxpaged.execution.step import StepFunctions
    from jaxpaged.kv.pool import PoolGeometry
    from jaxpaged.kv.spec import cache_groups
    from jaxpaged.models.functional import build_decoder
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
    pages = (4096,)
    limits = BatchLimits(64, 65, 8193, spec.vocab_size, pages, (256,), 32)
    leaves = tuple(
        jax.ShapeDtypeStruct(info.shape, info.dtype, sharding=sharding_of(mesh, info.axes)) for info in decoder.params
    )
    functions = StepFunctions(decoder, Sampler(spec.vocab_size), mesh, pool.layout)
    programs = ProgramSet(functions, Buckets.for_limits(tokens, 64), limits, leaves, pool.abstract(pages))
    one_layer = 4096 * 4096 * 2 // target.split
    return programs.backbone(tokens), pages[0] * pool.page_bytes(0), one_layer


def compile_report(target: Target, program, large: int) -> Report:
    """Compile and read the optimised HLO: copies of at least `large` bytes, all-reduces, temporaries, aliases."""
    import jax

    from jaxpaged.execution.compiler import lower

    started = time.monotonic()
    mesh = program.arguments[1][0].sharding.mesh
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        compiled = lower(program).compile()
    memory, text = compiled.memory_analysis(), compiled.as_text()
    copies = tuple(line.strip()[:120] for line in text.splitlines() if is_copy(line) and size_of(line) >= large)
    reduces = len(re.findall(r"= \S+ all-reduce(?:-start)?\(", text))
    kernels = text.count('custom_call_target="mosaic_gpu')
    seconds = time.monotonic() - started
    return Report(memory.temp_size_in_bytes, memory.alias_size_in_bytes, copies, reduces, kernels, seconds)


def is_copy(line: str) -> bool:
    return re.search(r"= \S+ (copy|copy-start|transpose)\(", line) is not None


def size_of(line: str) -> int:
    """Bytes of the first shape in an HLO line."""
    found = re.search(r"(bf16|f32|f16|s32|s8|u8)\[([\d,]*)\]", line)
    if not found:
        return 0
    count = 1
    for dimension in filter(None, found[2].split(",")):
        count *= int(dimension)
    return count * {"bf16": 2, "f16": 2, "f32": 4, "s32": 4, "s8": 1, "u8": 1}[found[1]]


if __name__ == "__main__":
    sys.exit(main())
