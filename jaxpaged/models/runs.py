"""Consecutive layers grouped into runs of a repeating period, so that each place of a period can be one stacked array.

Gemma 3 with 26 layers (five local, one global, ...) is a run of period 6 repeated 4 times and a run of period 1 twice.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """`repeats` times `period` layers, from layer `start` on."""

    start: int
    period: int
    repeats: int

    def layers(self, place: int) -> tuple[int, ...]:
        """The decoder layers at one place of the period, in order."""
        return tuple(self.start + place + self.period * repeat for repeat in range(self.repeats))


def find_runs(layers: Sequence[Hashable]) -> tuple[Run, ...]:
    """Greedy: from each start the period that covers most layers, the shortest such."""
    runs: list[Run] = []
    start = 0
    while start < len(layers):
        periods = range(1, len(layers) - start + 1)
        candidates = [Run(start, period, _repeats(layers, start, period)) for period in periods]
        best = max((run for run in candidates if run.period == 1 or run.repeats > 1), key=_covered)
        runs.append(best)
        start += best.period * best.repeats
    return tuple(runs)


def _covered(run: Run) -> tuple[int, int]:
    return run.period * run.repeats, -run.period


def _repeats(layers: Sequence[Hashable], start: int, period: int) -> int:
    pattern = tuple(layers[start : start + period])
    repeats = 1
    while tuple(layers[start + repeats * period : start + (repeats + 1) * period]) == pattern:
        repeats += 1
    return repeats
