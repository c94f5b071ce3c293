"""Which dtypes this machine's oneDNN is trusted with, from what is known of the machine alone."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from jaxlib import version as jaxlib

# The order in which weights lie is oneDNN's own affair, so only the versions it was tried with.
JAXLIB_VERSIONS = ("0.11.2", "0.12.0.1")
# What /proc/cpuinfo must name. oneDNN ends the process for bfloat16 without such instructions, and is slow for int8.
CPU_FLAGS: Mapping[str, str] = MappingProxyType({"float32": "avx2", "bfloat16": "avx512_bf16", "int8": "avx512_bf16"})
CPU_INFO = Path("/proc/cpuinfo")


def why_not(dtypes: frozenset[str], cpu: str) -> str | None:
    """The reason why oneDNN is not tried with any of the dtypes on a CPU, described as cpu_description() does."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"oneDNN is tried on x86-64 only, and this is {platform.machine()}"
    if jaxlib.__version__ not in JAXLIB_VERSIONS:
        return f"oneDNN was tested with jaxlib {' and '.join(JAXLIB_VERSIONS)}, and this is {jaxlib.__version__}"
    if not any(can_try(dtype, cpu) for dtype in dtypes):
        wanted = " or ".join(f"{flag.upper().replace('_', '-')} for {name}" for name, flag in _needed(dtypes).items())
        return f"oneDNN needs {wanted or 'float32, bfloat16 or int8 weights'} here"
    return None


def can_try(dtype: str, cpu: str) -> bool:
    return dtype in CPU_FLAGS and CPU_FLAGS[dtype] in cpu.split()


def cpu_description() -> str:
    """The CPU's name, its instruction sets and how many CPUs this process may use; "" without a /proc/cpuinfo."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    wanted = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines if ":" in line}
    usable = len(os.sched_getaffinity(0))
    return " ".join((wanted.get("model name", ""), wanted.get("flags", ""), f"on {usable}"))


def _needed(dtypes: frozenset[str]) -> dict[str, str]:
    return {dtype: CPU_FLAGS[dtype] for dtype in sorted(dtypes) if dtype in CPU_FLAGS}
