"""What the kernels of one layer of a decoding step read and write, from the optimised HLO of a whole step."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%(?P<name>[\w.-]+) = (?P<type>\(.*?\)|\w+\[[\d,]*\]\S*) (?P<op>[\w-]+)\((?P<rest>.*)"
)
SHAPE = re.compile(r"(?P<dtype>[a-z]+\d+)\w*\[(?P<dims>[\d,]*)\]")
STAYS = 16 << 20  # of 60 MB: what the next kernel reads does not go to memory and back
SILENT = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}


@dataclass(frozen=True)
class Traffic:
    """Bytes of a layer: weights read, and results written between its kernels, all of them and the largest.

    Results that are the pool, updated in place, and what attention keeps of its splits are not in it: the context says.
    """

    weights: int
    results: int
    largest: int

    def problems(self, weights: int) -> list[str]:
        """weights: the bytes of a layer's. Each is to be read once, and results are to stay in the cache."""
        wrong = []
        if self.weights > 1.03 * weights:
            wrong.append(f"a layer reads {self.weights / weights:.2f} x its weights")
        if self.largest > STAYS:
            wrong.append(f"a layer writes {self.largest >> 20} MiB at once")
        return wrong


@dataclass(frozen=True)
class _Instruction:
    type: str
    op: str
    operands: tuple[str, ...]


def of_a_layer(text: str, layers: int, calls: int, pool: int) -> Traffic:
    """From the first of `calls` kernels of ours of the first layer to that of the second. pool: its elements."""
    entry = _instructions(text)
    names = list(entry)
    ours = [i for i, name in enumerate(names) if 'custom_call_target="mosaic_gpu' in entry[name].operands[-1]]
    layer = [entry[name] for name in names[ours[0] + 1 : ours[calls]] if entry[name].op not in SILENT]
    weights, results = 0, []
    for instruction in layer:
        for operand in instruction.operands[:-1]:
            source = entry.get(operand)
            dims = _dims(source.type)[0] if source and source.op == "parameter" else []
            if len(dims) > 1 and dims[0] == layers and math.prod(dims) != pool:
                weights += _bytes(source.type) // layers
        of_splits = instruction.op == "custom-call" and instruction.type.startswith("(f32")
        if not of_splits and pool not in map(math.prod, _dims(instruction.type)):
            results.append(_bytes(instruction.type))
    return Traffic(weights, sum(results), max(results))


def _instructions(text: str) -> dict[str, _Instruction]:
    """Of the entry computation by name; the last operand is the rest of the line."""
    lines = text[text.index("\nENTRY ") :].splitlines()
    found = [match for match in map(INSTRUCTION.match, lines) if match]
    return {
        match["name"]: _Instruction(
            match["type"], match["op"], (*re.findall(r"%([\w.-]+)", match["rest"].split("), ")[0]), match["rest"])
        )
        for match in found
    }


def _dims(type_: str) -> list[list[int]]:
    return [[int(n) for n in found["dims"].split(",") if n] for found in SHAPE.finditer(type_)]


def _bytes(type_: str) -> int:
    bits = (int(re.sub(r"\D", "", found["dtype"])) for found in SHAPE.finditer(type_))
    return sum(math.prod(dims) * size // 8 for dims, size in zip(_dims(type_), bits, strict=True))
