"""Reading compiled HLO text: collectives, and copies of large buffers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

BITS = {"f32": 32, "s32": 32, "u32": 32, "bf16": 16, "f16": 16, "s8": 8, "u8": 8, "pred": 8, "f64": 64, "s64": 64}
INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = (?P<type>\(.*?\)|\w+\[[\d,]*\]\S*) (?P<op>[\w-]+)\(")
SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?(?P<name>[\w.-]+) \(.*\{\s*$")


def instructions(text: str) -> Iterator[tuple[str, str, str]]:
    """(computation, operation, result type) of every instruction."""
    computation = ""
    for line in text.splitlines():
        if found := COMPUTATION.match(line):
            computation = found["name"]
        elif found := INSTRUCTION.match(line):
            yield computation, found["op"], found["type"]


def sizes(result: str) -> list[int]:
    """Bytes of each array of a result type."""
    return [
        math.prod(int(n) for n in dims.split(",") if n) * BITS[kind] // 8
        for kind, dims in SHAPE.findall(result)
        if kind in BITS
    ]


def collectives(text: str) -> Counter[str]:
    """How often each collective occurs in the text; an asynchronous pair counts once."""
    names = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
    return Counter(name for _, op, _ in instructions(text) for name in names if op in (name, f"{name}-start"))


def large_copies(text: str, at_least: int) -> list[str]:
    """Copies and transposes whose result holds an array of so many bytes, wherever they stand, fusions included."""
    moving = ("copy", "copy-start", "transpose", "concatenate", "pad", "convert", "dynamic-slice", "slice", "gather")
    return [
        f"{computation}: {op} {result}"
        for computation, op, result in instructions(text)
        if op in moving and max(sizes(result), default=0) >= at_least
    ]
