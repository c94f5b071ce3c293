"""What the server remembers on disk: one JSON file for each thing, whole or not there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

log = logging.getLogger("jaxpaged.server")


class Known(Protocol):
    @property
    def id(self) -> str: ...


def write_json(path: Path, value: Known) -> None:
    """Put `value` in place at once, so that a crash leaves the old one."""
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(value))
    part.replace(path)


def read_json[Value: Known](directory: Path, prefix: str, kind: type[Value]) -> Iterator[Value]:
    """Every `kind` in the directory; what is no such thing is left alone and named in the log."""
    for path in directory.glob(f"{prefix}*.json"):
        try:
            value = msgspec.json.decode(path.read_bytes(), type=kind)
        except msgspec.MsgspecError as error:
            log.warning("%s is ignored: %s", path.name, error)
            continue
        if value.id == path.stem:
            yield value
