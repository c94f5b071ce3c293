"""What XLA's list of thunks says of a compiled GPU program: what is launched, in which command buffers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

LINE = re.compile(r"^(?P<indent> *)\d+: (?P<kind>k\w+)", re.MULTILINE)
FILES = "*thunk_sequence_after_thunk_passes.txt"


@dataclass(frozen=True)
class Thunk:
    """A thunk and the kinds of those that hold it, outermost first."""

    kind: str
    inside: tuple[str, ...]


def dumped(directory: str) -> list[Thunk]:
    """The thunks of the program that XLA compiled with xla_dump_to=directory, in order, holders before what they hold.

    A command buffer that other thunks interrupt is written in parts: each part counts as one.
    """
    thunks: list[Thunk] = []
    holders: list[tuple[int, str]] = []
    for path in sorted(Path(directory).glob(FILES)):
        for found in LINE.finditer(path.read_text()):
            depth = len(found["indent"])
            holders = [(at, kind) for at, kind in holders if at < depth]
            thunks.append(Thunk(found["kind"], tuple(kind for _, kind in holders)))
            holders.append((depth, found["kind"]))
    return thunks


def a_layer(thunks: Sequence[Thunk], calls: int) -> int:
    """Thunks from the first of a layer's `calls` custom calls to that of the next: the least of all layers.

    What is computed once for all layers may stand between the first ones.
    """
    launched = [thunk for thunk in thunks if thunk.kind not in ("kCommandBuffer", "kDynamicSliceFusion")]
    first = [i for i, thunk in enumerate(launched) if thunk.kind == "kCustomCall"][::calls]
    return min((b - a for a, b in pairwise(first)), default=0)


def problems(thunks: Sequence[Thunk], calls: int, layers: int, most: int | None) -> list[str]:
    """What is wrong with a step that should be one command buffer with all its `calls` x `layers` custom calls."""
    custom = [thunk for thunk in thunks if thunk.kind == "kCustomCall"]
    wrong = []
    if len(custom) != calls * layers or any(thunk.inside[:1] != ("kCommandBuffer",) for thunk in custom):
        wrong.append(f"not all of {calls} kernels a layer are captured by a command buffer")
    if any("kDynamicSliceFusion" in thunk.inside for thunk in custom):
        wrong.append("a kernel runs inside a slice fusion")
    if (buffers := sum(thunk.kind == "kCommandBuffer" for thunk in thunks)) != 1:
        wrong.append(f"{buffers} command buffers, not 1")
    if most is not None and (count := a_layer(thunks, calls)) > most:
        wrong.append(f"{count} thunks a layer, more than {most}")
    return wrong
