"""The JSON file: whole after every benchmark, and those of earlier runs stay in it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.engines import Found
from benchmarks.rounds import Cell
from gpu.report import provenance

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
FILE = "results.json"


@dataclass
class Results:
    """figures: by benchmark, each with when and with which commit it was taken."""

    folder: Path
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / FILE

    @classmethod
    def of(cls, folder: Path) -> Results:
        """With what stands in the folder's file."""
        path = folder / FILE
        return cls(folder, json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})

    def begin(self, found: Found, settings: Mapping[str, Any]) -> None:
        ran = provenance()
        self.figures["machine"] = machine()
        self.figures["settings"] = dict(settings)
        self.figures["engines"] = {engine.name: engine.version for engine in found.engines}
        self.figures["missing"] = dict(found.missing)
        self.figures["versions"] = {"python": ran["python"], **ran["versions"]}
        self.write()

    def add(self, name: str, status: str, why: str, seconds: float, cells: Sequence[Cell]) -> None:
        """status: ok, failed or skipped."""
        ran = provenance()
        self.figures.setdefault("benchmarks", {})[name] = {
            "status": status,
            **({"why": why} if why else {}),
            "date": ran["date"],
            "commit": ran["commit"],
            "seconds": round(seconds, 1),
            "cells": [cell.plain() for cell in cells],
        }
        self.write()

    def is_checked(self) -> bool:
        """Whether this commit's tokens have been found to be the reference's."""
        entry = self.figures.get("benchmarks", {}).get("parity", {})
        return (entry.get("status"), entry.get("commit")) == ("ok", provenance()["commit"])

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(_rounded(self.figures), indent=1) + "\n", encoding="utf-8")
        beside.replace(self.path)


def machine() -> dict[str, Any]:
    """The processor, and what of it matters to products."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", "").split()
    return {
        "processor": fields.get("model name", platform.processor() or platform.machine()),
        "family": fields.get("cpu family", ""),
        "cores": os.cpu_count(),
        "features": [name for name in FEATURES if name in flags],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
    }


def _rounded(value: Any) -> Any:
    """Four digits: more are noise, and make a file that no one can compare."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def cell_of(figures: Mapping[str, Any], benchmark: str, case: str, engine: str) -> Mapping[str, Any] | None:
    """That of one engine in one case, where it was measured."""
    cells = figures.get("benchmarks", {}).get(benchmark, {}).get("cells", [])
    found = (cell for cell in cells if cell["case"] == case and cell["engine"] == engine and cell["rounds"])
    return next(found, None)
