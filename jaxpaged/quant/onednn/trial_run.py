"""A trial in a child process, so that a oneDNN which ends its process ends only that. Verdicts are kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from jaxlib import version as jaxlib

from jaxpaged.quant.onednn import matrix, trial
from jaxpaged.quant.onednn.matrix import Matrix
from jaxpaged.quant.onednn.trial import Trial

LONGEST = 300.0  # seconds
COMMAND = (sys.executable, "-m", trial.__name__)


class TrialFailed(Exception):
    """The child process gave no verdict; the text says how it ended."""


def try_matrices(wanted: Trial, cpu: str, directory: Path | None, command: Sequence[str] = COMMAND) -> list[Matrix]:
    """The matrices that oneDNN multiplies right on this CPU. Raises TrialFailed.

    directory: where verdicts are kept; None: nowhere.
    """
    file = None if directory is None else directory / f"onednn-{_digest(wanted, cpu)}.json"
    found = _kept(file)
    if found is None:
        found = _run(wanted, command)
        _keep(file, found)
    return found


def _run(wanted: Trial, command: Sequence[str]) -> list[Matrix]:
    try:
        child = subprocess.run(command, input=wanted.to_json(), capture_output=True, text=True, timeout=LONGEST)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TrialFailed(f"the trial of oneDNN could not be run to the end ({error})") from error
    if child.returncode:
        raise TrialFailed(f"the trial of oneDNN ended with status {child.returncode}")
    return _matrices(child.stdout)


def _matrices(text: str) -> list[Matrix]:
    try:
        return [Matrix(**fields) for fields in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise TrialFailed("the trial of oneDNN printed no verdict") from error


def _kept(file: Path | None) -> list[Matrix] | None:
    if file is None or not file.is_file():
        return None
    try:
        return _matrices(file.read_text(encoding="utf-8"))
    except (OSError, TrialFailed):
        return None


def _keep(file: Path | None, found: list[Matrix]) -> None:
    if file is None:
        return
    try:
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as new:
            json.dump([asdict(each) for each in found], new)
        os.replace(new.name, file)
    except OSError:
        return  # another start will try again


def _digest(wanted: Trial, cpu: str) -> str:
    """Of everything that a verdict depends on, the code of the trial included."""
    code = [Path(module.__file__ or "").read_bytes() for module in (matrix, trial)]
    parts = (wanted.to_json().encode(), cpu.encode(), jaxlib.__version__.encode(), *code)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]
