"""Norms that are of queries and keys only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AcrossHeads:
    """x / rms(x) * weight, over all heads of a token together."""

    eps: float
