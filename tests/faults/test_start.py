"""F13, F15: what a model directory gets wrong ends `jaxpaged serve` before it listens, in one sentence.

The mutations themselves are in tests/weights/test_damage.py and tests/text/test_tokenizer.py, through the library.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import jaxpaged

DEMO = Path(jaxpaged.__file__).parent / "assets" / "demo"
ROOT = Path(__file__).resolve().parents[2]


def cut_weights(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def another_width(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "hidden_size": 2 * config["hidden_size"]}))


def no_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


def broken_config(model: Path) -> None:
    (model / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("mutate", "word"),
    [
        (cut_weights, "model.safetensors"),
        pytest.param(another_width, "shape", marks=pytest.mark.matrix),
        (no_tokenizer, "tokenizer"),
        (broken_config, "config.json"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_it_does_not_listen(mutate: Callable[[Path], None], word: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(DEMO, model)
    mutate(model)
    command = [sys.executable, "-m", "jaxpaged", "serve", str(model), "--port", "0"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert run.returncode == 2, run.stderr[-2000:]
    assert "jaxpaged serves" not in run.stdout
    said = [line for line in re.split(r"[\r\n]+", run.stderr) if line.startswith("jaxpaged: ")]
    assert len(said) == 1
    assert word in said[0]
    assert "Traceback" not in run.stderr
