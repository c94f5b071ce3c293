"""transformers' greedy tokens in float32, recorded for the two models that are measured.

    PYTHONPATH=scripts:. .venv/bin/python -m benchmarks.reference PYTHON FOLDER

records them anew, by a PYTHON that has torch and transformers; FOLDER: where the checkpoint is or is to be.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.engines import HF, ROOT, environment
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.worker import Worker

FILE = Path(__file__).with_name("reference.json")
BUNDLED = ROOT / "jaxpaged" / "assets" / "demo"


def recorded(model: Path | None, asked: Mapping[str, int]) -> list[list[int]] | None:
    """The tokens of the same weights and the same task; None where there are none."""
    key = {"weights": digest(model or BUNDLED), "asked": dict(asked)}
    entries = json.loads(FILE.read_text(encoding="utf-8"))
    return next((entry["tokens"] for entry in entries if {name: entry[name] for name in key} == key), None)


def digest(model: Path) -> str:
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()[:16]


def record(python: str, folder: Path) -> None:
    from benchmarks.checkpoint import write_checkpoint

    entries = [_entry(python, model, sizes) for model, sizes in ((write_checkpoint(folder), FULL), (BUNDLED, QUICK))]
    FILE.write_text("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n", encoding="utf-8")


def _entry(python: str, model: Path, sizes: Sizes) -> dict[str, object]:
    settings = {"model": str(model), "dtype": "float32", "last": sizes.last, "threads": 1}
    command = [python, "-m", "benchmarks.children.generate"]
    worker = Worker(command, environment(HF, python), settings, Path("/dev/null"))
    try:
        tokens = worker.do("greedy", **sizes.greedy)["tokens"]
    finally:
        worker.close()
    return {"weights": digest(model), "asked": dict(sizes.greedy), "tokens": tokens}


if __name__ == "__main__":
    record(sys.argv[1], Path(sys.argv[2]))
