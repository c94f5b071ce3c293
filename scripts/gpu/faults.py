"""Rehearsals: a part is told to abort, raise, hang or lie, to see that the others' figures still come out."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

KINDS = ("abort", "raise", "hang", "wrong")
HANG_LIMIT = 2.0  # seconds that are waited for a part that is told to hang


def parse(given: list[str]) -> dict[str, str]:
    """["a part=hang"] -> {"a part": "hang"}. Raises ValueError for another kind."""
    faults = dict(item.rpartition("=")[::2] for item in given)
    if wrong := [kind for kind in faults.values() if kind not in KINDS]:
        raise ValueError(f"--fault: {wrong[0]!r} is none of {', '.join(KINDS)}; write PART=KIND.")
    return faults


def commit(faults: Mapping[str, str], part: str) -> None:
    """Do what the part is told to; a part that is told to lie spoils its own output."""
    kind = faults.get(part)
    if kind == "abort":
        os.abort()
    if kind == "raise":
        raise RuntimeError("told to raise")
    while kind == "hang":
        time.sleep(60)
