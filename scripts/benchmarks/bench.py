"""What a benchmark is given, and the list of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.fleet import Fleet
from benchmarks.rounds import Cell, Figures, in_turn
from benchmarks.sizes import Sizes


@dataclass(frozen=True)
class Bench:
    """rounds: of a comparison. hush: a command that is running while something is measured. done: after each step."""

    sizes: Sizes
    fleet: Fleet
    rounds: int
    hush: Sequence[str]
    done: Callable[[], Any]

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """The command says by a line that it is quiet; it is ended afterwards."""
        if not self.hush:
            yield
            return
        with subprocess.Popen(self.hush, stdout=subprocess.PIPE) as hushing:
            assert hushing.stdout is not None
            try:
                hushing.stdout.readline()
                yield
            finally:
                hushing.terminate()

    def in_turn[T](
        self, case: str, names: Sequence[str], started: Callable[[str], T], measure: Callable[[T, int], Figures]
    ) -> list[Cell]:
        """Of those engines that are there; `started`: fleet.worker or fleet.server."""
        there = self.fleet.found.there(names)
        return in_turn(case, there, self.rounds, started, measure, self.quiet, self.done)


@dataclass(frozen=True)
class Benchmark:
    """run: gives the cells. engines: those that take part where they are there. cases: how many there are.

    uses: the kind of processes that it shares with its neighbours, worker or server. once: one round is enough.
    """

    name: str
    what: str
    run: Callable[[Bench], list[Cell]]
    engines: tuple[str, ...]
    cases: Callable[[Sizes], int]
    uses: str = ""
    once: bool = False
