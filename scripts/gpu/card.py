"""What the card and its software cannot do for these runs, each in a sentence that names what is done instead."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from typing import Any

from gpu.watch import ROOT

OLDEST_DRIVER = 545  # of CUDA 12.3: with an older one XLA takes custom calls out of command buffers
NEEDED_MEMORY = 60 << 30  # bytes that JAX may use: 16 GB of weights, 64 sequences of 2k, the temporaries
CHECKED = ("jax", "flax", "orbax-checkpoint", "transformers", "llguidance")
PATIENCE = 10.0  # seconds for nvidia-smi
QUERY = "name,driver_version,memory.total,compute_cap,clocks.max.sm,power.limit"


def nvidia_smi() -> dict[str, str]:
    """What the driver's own tool says of the first card; empty without it, or where it says nothing in time.

    It takes no memory on the card.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    command = [tool, f"--query-gpu={QUERY}", "--format=csv,noheader"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:  # a driver that is stuck must not take the whole call along
        return {}
    cells = [cell.strip() for cell in (ran.stdout.splitlines() or [""])[0].split(",")]
    return dict(zip(QUERY.split(","), cells, strict=False)) if len(cells) > 1 else {}


def too_old_for_command_buffers(smi: Mapping[str, str]) -> str:
    """A sentence, or nothing."""
    version = smi.get("driver_version", "")
    if not version.split(".")[0].isdigit() or int(version.split(".")[0]) >= OLDEST_DRIVER:
        return ""
    return (
        f"The driver {version} is older than {OLDEST_DRIVER}, the first whose command buffers take our kernels: "
        "everything is measured without command buffers."
    )


def no_hopper(facts: Mapping[str, Any]) -> str:
    """`facts`: of the device, as a child gives them; or of nvidia_smi(). A sentence, or nothing."""
    capability = facts.get("capability") or facts.get("compute_cap") or ""
    if capability == "9.0":
        return ""
    return (
        f"{facts.get('device') or facts.get('name') or 'This machine'} is no Hopper (compute capability 9.0): "
        "attention is measured by XLA, and what only Hopper's kernels have is left out."
    )


def too_little_memory(memory: int) -> str:
    """`memory`: bytes that JAX may use, 0 where it is not known. A sentence, or nothing."""
    if not memory or memory >= NEEDED_MEMORY:
        return ""
    return (
        f"JAX may use {memory / 2**30:.0f} GiB, less than the {NEEDED_MEMORY >> 30} GiB of the 8B plan: "
        "a Llama of 1B's shape is measured instead."
    )


def missing_packages(versions: Mapping[str, str]) -> list[str]:
    """A sentence for each package that the engine needs and that is missing or older than pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {line.split(">=")[0]: line.split(">=")[1].split(",")[0] for line in project["dependencies"] if ">=" in line}
    problems = []
    for name in CHECKED:
        here = versions.get(name)
        if here is None or _numbers(here) < _numbers(asked[name]):
            problems.append(
                f"{name} is {here or 'not installed'}, and the engine needs {asked[name]}: carry its wheel, or only "
                "kernels are measured."
            )
    return problems


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")[:3] if part.isdigit()]
