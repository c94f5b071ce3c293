"""A part of a group: what a child runs and times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Skip(Exception):
    """Raised by a part that has nothing to do here; the text says why."""


@dataclass(frozen=True)
class Setup:
    """What a child was given. attention: auto or xla. label: of the way that it is run. lies: parts told to lie."""

    out: Path
    quick: bool
    attention: str = "auto"
    label: str = ""
    lies: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Task:
    """run: gives the figures; "problem" among them says what is wrong. needed: the parts after it cannot do without."""

    name: str
    run: Callable[[], Mapping[str, Any]]
    needed: bool = False
