"""What an optimised HLO module does with memory and between devices, read from its text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator

BYTES = {"bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "s8": 1, "u8": 1}
# What passes a buffer on without producing it. The kernels' custom calls and the loop alias theirs.
PASSING = {
    "parameter", "get-tuple-element", "tuple", "bitcast", "while", "conditional", "custom-call", "opt-barrier",
    "all-reduce-start", "all-reduce-done",
}  # fmt: skip
# Weights that are brought to vector memory while something else is computed.
PREFETCHING = {"copy-start", "copy-done", "slice-start", "slice-done", "async-start", "async-done"}
INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = (?P<type>\(.*?\)|\w+\[[\d,]*\]\S*) (?P<op>[\w-]+)\(")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?(?P<name>[\w.-]+) \(.*\{\s*$")
SHAPE = re.compile(r"(?:bf16|f32|s32|u32|s8|u8|f8\w+)\[(?P<dims>[\d,]*)\]")
COLLECTIVE = re.compile(
    r" = .*? (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(", re.MULTILINE
)


def collectives(text: str) -> Counter[str]:
    """How often each kind of exchange between devices is started."""
    return Counter(COLLECTIVE.findall(text))


def is_copy(line: str) -> bool:
    return re.search(r"= \S+ (copy|copy-start|transpose)\(", line) is not None


def size_of(line: str) -> int:
    """Bytes of the first shape in an HLO line."""
    found = re.search(r"(bf16|f32|f16|s32|u32|s8|u8)\[([\d,]*)\]", line)
    return BYTES[found[1]] * math.prod(_dimensions(found[2])) if found else 0


def produced(text: str, large: Collection[int], *, tokens: int, updated: int = 0) -> list[str]:
    """Results written to memory that hold as many elements as a weight, the pool, or a layer of it: `large`.

    Those with an axis of `tokens` are activations. A fusion may produce `updated` elements: a scatter into the pool
    does, in place or not, which the temporaries tell. As `operation type`.
    """

    def is_large(line: str, dims: list[int]) -> bool:
        size = math.prod(dims)
        return tokens not in dims and size in large and not (line.startswith("fusion ") and size == updated)

    return [line for line in _products(text) if any(is_large(line, dims) for dims in _shapes(line))]


def _products(text: str) -> Iterator[str]:
    """Results of instructions outside of fusions."""
    fused = set(re.findall(r"calls=%?([\w.-]+)", text))
    computation = ""
    for line in text.splitlines():
        if found := COMPUTATION.match(line):
            computation = found["name"]
        elif (found := INSTRUCTION.match(line)) and computation not in fused and found["op"] not in PASSING:
            yield f"{found['op']} {found['type']}"


def _shapes(product: str) -> list[list[int]]:
    """Dimensions of each array, those that are prefetched aside."""
    if product.split()[0] in PREFETCHING and "S(1)" in product:
        return []
    return [_dimensions(found["dims"]) for found in SHAPE.finditer(product)]


def _dimensions(text: str) -> list[int]:
    return [int(n) for n in text.split(",") if n]
