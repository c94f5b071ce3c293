"""env: print versions, devices and settings, for a bug report."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import PackageNotFoundError, version

from jaxpaged import __version__
from jaxpaged.cli.diagnosis import PACKAGES
from jaxpaged.cli.environment import PREFIX

_SECRET = ("KEY", "TOKEN", "SECRET")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    print(f"jaxpaged {__version__}, Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores")
    for package in PACKAGES:
        try:
            print(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    _print_devices()
    for name, value in sorted(os.environ.items()):
        if name.startswith((PREFIX, "JAX_", "XLA_", "HF_")):
            print(f"{name}={'(set)' if any(word in name for word in _SECRET) else value}")
    return 0


def _print_devices() -> None:
    import jax

    try:
        devices = jax.devices()
    except RuntimeError as error:
        print(f"devices: none ({str(error).splitlines()[0]})")
        return
    print(f"backend {jax.default_backend()}")
    for device in devices:
        memory = (device.memory_stats() or {}).get("bytes_limit")
        size = "" if memory is None else f", {memory / 2**30:.1f} GiB"
        print(f"device {device.id}: {device.device_kind}{size}")
