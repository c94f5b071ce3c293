"""Which weights are quantized, and how: an ordered list of (path pattern, Scheme), the first match wins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Int8:
    """int8 weights with a scale per output channel, times int8 activations with a dynamic scale per token."""


Scheme = Int8
SchemeRules = tuple[tuple[str, Scheme | None], ...]

# The matrices of the layers; embeddings, head, norms and biases keep the model's precision.
MATRICES = r"\.(mixer\.qkv|mixer\.out|ffn\.gate_up|ffn\.up|ffn\.down)"
SCHEMES: Mapping[str, SchemeRules] = MappingProxyType({"int8": ((MATRICES, Int8()),)})


def scheme_of(path: str, rules: SchemeRules) -> Scheme | None:
    """The scheme of the first rule whose pattern ends the parameter's path; None keeps the parameter as it is."""
    return next((scheme for pattern, scheme in rules if re.search(rf"(?:{pattern})$", path)), None)
