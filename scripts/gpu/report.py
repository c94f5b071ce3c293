"""What ran, where and when; figures in a JSON file that is whole after every part, so a run cut short keeps its own."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu.watch import ROOT, Outcome

PACKAGES = (
    "jax", "jaxlib", "jax-cuda13-plugin", "flax", "orbax-checkpoint", "transformers", "llguidance", "nvidia-cudnn-cu13",
    "nvidia-cublas", "torch",
)  # fmt: skip


@dataclass
class Report:
    """Figures by section and part. Imports no jax: a process that has used the card holds most of its memory.

    path: the JSON file, written by `add`; log: what the children print is appended there.
    """

    command: str
    path: Path
    log_path: Path
    figures: dict[str, Any] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.figures |= {"command": self.command, **provenance()}
        self.say(" ".join(f"{key}={value}" for key, value in self.figures.items() if key != "versions"))
        self.say(" ".join(f"{key}=={value}" for key, value in self.figures["versions"].items()))

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def say(self, line: str) -> None:
        print(f"[{self.elapsed:6.1f} s] {line}", flush=True)

    def tell(self, outcome: Outcome) -> None:
        """Keep the outcome of a part, and write everything."""
        with self.lock:
            self.outcomes.append(outcome)
            entry: dict[str, Any] = {"status": outcome.status, "seconds": round(outcome.seconds, 2)}
            entry |= {"why": outcome.detail} if outcome.detail else {}
            entry |= outcome.figures if isinstance(outcome.figures, Mapping) else {}
            self.figures.setdefault(outcome.group, {})[outcome.part] = entry
            self.write()
            shown = {key: value for key, value in entry.items() if key not in ("status", "seconds", "report")}
            self.say(f"{outcome.group} | {outcome.part}: {outcome.status}, {outcome.seconds:.1f} s {_short(shown)}")

    def add(self, name: str, value: Any) -> None:
        with self.lock:
            self.figures[name] = value
            self.write()

    def write(self) -> None:
        """By a file beside it, so that whoever reads finds all of it."""
        self.figures["seconds"] = round(self.elapsed, 1)
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(self.figures, indent=1), encoding="utf-8")
        beside.replace(self.path)

    def log(self, name: str, text: bytes) -> None:
        with self.lock, self.log_path.open("ab") as file:
            file.write(f"==== {name}, until {self.elapsed:.1f} s\n".encode() + text + b"\n")


def _short(figures: Mapping[str, Any]) -> str:
    text = json.dumps(figures, default=str)
    return text if len(text) <= 400 else text[:400] + " ..."


def provenance() -> dict[str, Any]:
    """Versions, commit and date of a run."""
    return {
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
