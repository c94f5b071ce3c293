"""What a GGUF file holds, checked before a byte of a tensor is read.

The gguf package's reader trusts the counts in a header (a long list in a short file keeps it busy for ever) and takes
seconds for a vocabulary; this one stops at the end of the file.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpaged.errors import WeightError
from jaxpaged.gguf.cursor import BrokenFile, Cursor
from jaxpaged.gguf.kinds import Kind, kinds

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_KEYS, MOST_TENSORS, MOST_AXES = 1 << 16, 1 << 20, 4
ALIGNMENT_KEY, ALIGNMENT = "general.alignment", 32


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies: `nbytes` bytes from `start` on. shape: rows first, as numpy has it."""

    name: str
    shape: tuple[int, ...]
    kind: Kind
    file: Path
    start: int
    nbytes: int

    def read(self) -> np.ndarray:
        """Its numbers: float32, or what a plain tensor is stored in. Raises WeightError."""
        try:
            data = np.fromfile(self.file, np.uint8, self.nbytes, offset=self.start)
        except OSError as error:
            raise WeightError(f"{self.file} cannot be read ({error.strerror}).") from error
        if data.size != self.nbytes:
            raise WeightError(f"{self.file} became shorter while it was read.")
        return self.kind.unpack(data, self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """One file: its metadata and its tensors by name."""

    file: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]


def read_header(file: Path) -> Header:
    """Read the header of one GGUF file. Raises WeightError with what is wrong with it."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[: len(MAGIC)] != MAGIC:
                raise BrokenFile("is no GGUF file")
            return _read(file, Cursor(data, len(MAGIC)))
    except BrokenFile as error:
        raise WeightError(f"{file} {error}; fetch the file again.") from error
    except OSError as error:
        raise WeightError(f"{file} cannot be read ({error.strerror}).") from error
    except ValueError as error:  # mmap's, for an empty file
        raise WeightError(f"{file} is empty; fetch the file again.") from error


def _read(file: Path, cursor: Cursor) -> Header:
    version = cursor.number("I")
    if version not in VERSIONS:
        raise WeightError(
            f"{file} has version {version} of the format, or the other order of bytes; take one with version 2 or 3."
        )
    tensor_count, key_count = cursor.number("Q"), cursor.number("Q")
    if tensor_count > MOST_TENSORS or key_count > MOST_KEYS:
        raise BrokenFile(f"claims {tensor_count} tensors and {key_count} keys, which is more than any model has")
    metadata = _unique("key", ((cursor.text(), cursor.value()) for _ in range(key_count)))
    infos = _unique("tensor", (_tensor_info(cursor) for _ in range(tensor_count)))
    alignment = metadata.get(ALIGNMENT_KEY, ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise BrokenFile(f"has {ALIGNMENT_KEY}={alignment!r}, which is no power of two")
    start = -(-cursor.place // alignment) * alignment
    tensors = {name: _placed(file, name, info, start, len(cursor.data)) for name, info in infos.items()}
    _check_apart(tensors)
    return Header(file, metadata, tensors)


def _unique[T](what: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise BrokenFile(f"has the {what} {name!r} twice")
        found[name] = value
    return found


class _Info(NamedTuple):
    """A tensor as the header describes it; `offset` is from the first tensor on."""

    shape: tuple[int, ...]
    kind: int
    offset: int


def _tensor_info(cursor: Cursor) -> tuple[str, _Info]:
    name, axes = cursor.text(), cursor.number("I")
    if not 1 <= axes <= MOST_AXES:
        raise BrokenFile(f"gives {name!r} {axes} axes")
    shape = tuple(cursor.number("Q") for _ in range(axes))[::-1]
    return name, _Info(shape, cursor.number("I"), cursor.number("Q"))


def _placed(file: Path, name: str, info: _Info, start: int, size: int) -> StoredTensor:
    """`start`: where the first tensor lies; `size`: of the file."""
    kind = kinds().get(info.kind)
    if kind is None or not kind.readable:
        stored = kind.name if kind else f"type {info.kind}"
        raise WeightError(f"{file} stores {name!r} as {stored}, which is not read here; take the model as Q8_0 or F16.")
    if 0 in info.shape or info.shape[-1] % kind.block:
        raise BrokenFile(f"gives {name!r} the shape {list(info.shape)}, which cannot be {kind.name}")
    nbytes = math.prod(info.shape) // kind.block * kind.nbytes
    begin = start + info.offset
    if begin + nbytes > size:
        raise BrokenFile(f"has {size} bytes, but {name!r} ends at byte {begin + nbytes}: it was cut off")
    return StoredTensor(name, info.shape, kind, file, begin, nbytes)


def _check_apart(tensors: Mapping[str, StoredTensor]) -> None:
    end = 0
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor.start):
        if tensor.start < end:
            raise BrokenFile(f"has {tensor.name!r} where another tensor lies")
        end = tensor.start + tensor.nbytes
