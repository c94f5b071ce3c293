"""What ran, where and when; figures in a JSON file that is whole after every part, so a run cut short keeps its own."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("jax", "jaxlib", "jax-cuda13-plugin", "nvidia-cudnn-cu13", "nvidia-cublas", "torch", "transformers")


@dataclass
class Report:
    """Figures by part. `path`: the JSON file, written by `add`; None prints only."""

    command: str
    path: Path | None
    figures: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.figures |= {"command": self.command, **provenance()}
        self.say(" ".join(f"{key}={value}" for key, value in self.figures.items() if key != "versions"))
        self.say(" ".join(f"{key}=={value}" for key, value in self.figures["versions"].items()))

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def say(self, line: str) -> None:
        print(f"[{self.elapsed:6.1f} s] {line}", flush=True)

    def add(self, part: str, value: Any) -> None:
        """Keep a part's figures, and write all of them."""
        self.figures[part] = value
        self.figures["seconds"] = round(self.elapsed, 1)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.figures, indent=1), encoding="utf-8")


def provenance() -> dict[str, Any]:
    """Device, versions, commit and date of a run."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "runtime": device.client.platform_version.splitlines()[0],
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "python": sys.version.split()[0],
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    """Of the checkout, with a mark where files differ from it; "unknown" without git."""
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
    except FileNotFoundError:
        return "unknown"
    return git.stdout.strip() or "unknown"
