"""What `jaxpaged doctor` finds out about a machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jaxpaged import __version__
from jaxpaged.cli.environment import PREFIX
from jaxpaged.config import EngineConfig

PACKAGES = (
    "jax", "jaxlib", "flax", "orbax-checkpoint", "numpy", "ml-dtypes", "transformers", "tokenizers", "safetensors",
    "huggingface-hub", "llguidance", "gguf", "fastapi", "starlette", "uvicorn", "httptools", "pydantic", "msgspec",
    "pyzmq", "libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin", "nvidia-cudnn-cu12", "nvidia-nccl-cu12",
)  # fmt: skip
# variables that decide how an engine runs; of no other one is even the name told
SHOWN = (PREFIX, "JAX_", "XLA_", "TPU_", "CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_OFFLINE", "HF_HUB_CACHE")
_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD", "ENDPOINT")  # an address may hold a password
_GIB = 2**30


def programs() -> dict[str, Any]:
    """Versions, and the machine they run on."""
    found: dict[str, Any] = {
        "jaxpaged": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "memory": memory(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def memory() -> str:
    """Of the machine, and what is free of it."""
    total, free = (os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    return f"{total / _GIB:.1f} GiB, {free / _GIB:.1f} GiB free"


def devices() -> dict[str, Any]:
    """What jax finds, and what an engine would run on it."""
    import jax

    from jaxpaged.errors import ConfigError
    from jaxpaged.execution.device_defaults import device_defaults
    from pallas_kernels.paged_attention import device_layout, implementations

    try:
        found = jax.devices()
    except RuntimeError as error:  # JAX_PLATFORMS names what is not there, a driver does not answer
        return {"problem": f"no devices: {str(error).splitlines()[0]}"}
    first = found[0]
    facts: dict[str, Any] = {
        "backend": f"{jax.default_backend()} ({first.client.platform_version.splitlines()[0]})",
        "devices": [_device(each) for each in found],
    }
    try:
        defaults = device_defaults(first.platform, first.device_kind)
        facts["attention"] = implementations(device_layout(first))
    except (ConfigError, ValueError) as error:
        return facts | {"problem": str(error)}
    return facts | {
        "layers": f"{defaults.layer_loop} unless --layer-loop says otherwise",
        "a step": f"{defaults.max_num_batched_tokens:,} tokens, {defaults.max_num_seqs:,} sequences",
        "a page": f"{defaults.block_size} tokens",
    }


def _device(device: Any) -> str:
    capability = getattr(device, "compute_capability", None)
    stats = device.memory_stats() or {}
    size = f", {stats['bytes_limit'] / _GIB:.1f} GiB" if "bytes_limit" in stats else ""
    used = f", {stats['bytes_in_use'] / _GIB:.1f} GiB in use" if "bytes_in_use" in stats else ""
    return f"{device.id}: {device.device_kind}{f' ({capability})' if capability else ''}{size}{used}"


def caches(config: EngineConfig) -> dict[str, Any]:
    """Where compiled programs and downloads are kept."""
    from huggingface_hub.constants import HF_HUB_CACHE

    from jaxpaged.engine.startup.setup import COMPILE_CACHE

    programs = Path(config.compile.cache_dir or COMPILE_CACHE).expanduser()
    kept = "" if config.compile.persistent_cache else ", not used"
    downloads = Path(config.model.download_dir or HF_HUB_CACHE).expanduser()
    return {"compiled": f"{programs}: {_folder(programs)}{kept}", "downloads": f"{downloads}: {_folder(downloads)}"}


def _folder(path: Path) -> str:
    """How much a folder holds and whether it can be written."""
    if not path.exists():
        return "not there yet"
    if not path.is_dir():
        return "not a folder"
    try:
        sizes = [each.stat().st_size for each in path.rglob("*") if each.is_file() and not each.is_symlink()]
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    writable = "" if os.access(path, os.W_OK) else ", cannot be written"
    return f"{len(sizes):,} files, {sum(sizes) / _GIB:.2f} GiB{writable}"


def variables() -> dict[str, Any]:
    """Those that decide how an engine runs; of a secret, only that it is set."""
    shown = sorted(name for name in os.environ if name.startswith(SHOWN))
    return {name: "(set)" if any(word in name for word in _SECRET) else os.environ[name] for name in shown}
