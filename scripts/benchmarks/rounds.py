"""Engines in turn, round by round; medians, and ratios of what was measured in the same round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.errors import EngineFailed

Figures = Mapping[str, float]


@dataclass
class Cell:
    """One engine in one case: the figures of each round, or why there are none."""

    case: str
    engine: str
    rounds: list[Figures] = field(default_factory=list)
    failed: str = ""

    def median(self, figure: str) -> float | None:
        values = [one[figure] for one in self.rounds if figure in one]
        return statistics.median(values) if values else None

    def plain(self) -> dict[str, Any]:
        names = dict.fromkeys(name for one in self.rounds for name in one)
        figures = {name: self.median(name) for name in names}
        return {
            "case": self.case,
            "engine": self.engine,
            **({"failed": self.failed} if self.failed else {}),
            "figures": figures,
            "rounds": self.rounds,
        }


def in_turn[T](
    case: str,
    engines: Sequence[str],
    rounds: int,
    started: Callable[[str], T],
    measure: Callable[[T, int], Figures],
    quiet: Callable[[], AbstractContextManager[object]],
    done: Callable[[], object],
) -> list[Cell]:
    """A cell for each engine. Who begins changes from round to round; one that fails is left out of those that follow.

    started: gives an engine's process, which is what is measured. quiet: what each measurement is made in. done: is
    called after each.
    """
    cells = {engine: Cell(case, engine) for engine in engines}
    for index in range(rounds):
        for engine in engines if index % 2 == 0 else reversed(engines):
            cell = cells[engine]
            if not cell.failed:
                try:
                    process = started(engine)
                    with quiet():
                        cell.rounds.append(measure(process, index))
                except EngineFailed as error:
                    cell.failed = str(error)
            done()
    return list(cells.values())


def ratio(ours: Mapping[str, Any], peer: Mapping[str, Any], figure: str) -> float | None:
    """The median over rounds of ours by the peer's, both as Cell.plain() gives them."""
    pairs = zip(ours["rounds"], peer["rounds"], strict=False)
    values = [a[figure] / b[figure] for a, b in pairs if figure in a and b.get(figure)]
    return statistics.median(values) if values else None
