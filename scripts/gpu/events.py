"""What a child tells its parent: a line of JSON for each thing that happens, in a file that outlives the child."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Event:
    """kind: ready (figures: the device; names: the parts to come), begin or end of a part.

    Or the last: sick (the device answers no more since that part) or needed (the others need that part, which failed).
    status of an end: ok, wrong, raise or skipped; figures: what was measured; detail: why it is not ok.
    """

    kind: str
    name: str = ""
    status: str = ""
    detail: str = ""
    seconds: float = 0.0
    figures: Any = None
    names: tuple[str, ...] = ()


def append(path: Path, event: Event) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(event), default=str) + "\n")


@dataclass
class Reader:
    """Events of a file, each once; half a line at the end is left until it is whole."""

    path: Path
    offset: int = 0

    def new(self) -> list[Event]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            whole = file.read().rpartition(b"\n")[0]
        self.offset += len(whole) + 1 if whole else 0
        return [Event(**json.loads(line)) for line in whole.splitlines()]
