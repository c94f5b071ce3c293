"""Reads the numbers, texts and lists of a GGUF header, and nothing beyond the end of the file."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

STRING, ARRAY, FLOAT32 = 8, 9, 6
# value type -> struct's code for a number of that type
NUMBERS: Mapping[int, str] = MappingProxyType(
    {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", FLOAT32: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
)
MOST_LIST_ENTRIES = 1 << 23  # of a file together; the largest vocabularies have about a million


class BrokenFile(ValueError):
    """What is wrong with the file, as the end of a sentence that begins with its name."""


@dataclass(slots=True)
class Cursor:
    """A place in the bytes of a file. Everything read is little-endian. Raises BrokenFile."""

    data: bytes | mmap.mmap
    place: int = 0
    entries: int = 0  # of all lists so far

    def number(self, code: str) -> Any:
        """One number in struct's notation."""
        layout = "<" + code
        start = self._advance(struct.calcsize(layout))
        (value,) = struct.unpack_from(layout, self.data, start)
        return value

    def text(self) -> str:
        """Its length in 64 bits, then UTF-8."""
        length = self.number("Q")
        start = self._advance(length)
        try:
            return self.data[start : start + length].decode()
        except UnicodeDecodeError as error:
            raise BrokenFile("holds a text that is not UTF-8") from error

    def value(self) -> Any:
        """A value behind its type: a number, a text or a list of them."""
        kind = self.number("I")
        if kind == ARRAY:
            return self._list()
        return self._single(kind)

    def _single(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind not in NUMBERS:
            raise BrokenFile(f"holds a value of the unknown type {kind}")
        value = self.number(NUMBERS[kind])
        # The shortest decimal that means this float32: 1e-05, where the nearest double is 9.999999747378752e-06.
        return float(str(np.float32(value))) if kind == FLOAT32 else value

    def _list(self) -> list[Any]:
        kind, count = self.number("I"), self.number("Q")
        self.entries += count
        if self.entries > MOST_LIST_ENTRIES:
            raise BrokenFile(f"lists more than {MOST_LIST_ENTRIES} values")
        if kind not in NUMBERS:
            return [self._single(kind) for _ in range(count)]
        dtype = np.dtype("<" + NUMBERS[kind]) if kind != 7 else np.dtype(np.bool_)
        start = self._advance(count * dtype.itemsize)
        values: list[Any] = np.frombuffer(self.data[start : self.place], dtype).tolist()
        return values

    def _advance(self, count: int) -> int:
        """The place before; the next thing is read `count` bytes later."""
        start = self.place
        if count > len(self.data) - start:
            raise BrokenFile("ends in the middle of its header")
        self.place += count
        return start
