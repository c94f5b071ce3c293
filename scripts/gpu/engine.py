"""The engine's parts, as tasks of a child. XLA's flags are set here, before anything imports jax."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gpu.task import Setup, Task

AUTOTUNED = Path(tempfile.gettempdir()) / "jaxpaged-autotuned"  # outlives a child and a call: a second start is faster


def first(setup: Setup) -> list[Task]:
    return _tasks(setup, ("target", "single", "batch", "no command buffers", "offline", "compiles_after_ready"))


def second(setup: Setup) -> list[Task]:
    return _tasks(setup, ("conversations", "generate", "compiles_after_ready", "other variants"))


def _tasks(setup: Setup, parts: tuple[str, ...]) -> list[Task]:
    AUTOTUNED.mkdir(exist_ok=True)
    flags = [
        os.environ.get("XLA_FLAGS", ""),
        f"--xla_gpu_dump_autotune_results_to={setup.out / 'autotune_results.txtpb'}",
        f"--xla_gpu_per_fusion_autotune_cache_dir={AUTOTUNED}",
    ]
    os.environ["XLA_FLAGS"] = " ".join(flags).strip()
    from gpu.engine_parts import EngineParts

    return EngineParts(setup).tasks(parts)
