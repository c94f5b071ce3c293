"""The schemes by the name that quantization= takes, and which of a model's parameters one of them stores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from jaxpaged.config import Quantization
from jaxpaged.quant.int8 import Int8Scheme
from jaxpaged.quant.plain import PLAIN
from jaxpaged.quant.scheme import Parameter, Scheme

SCHEMES: Mapping[Quantization, Scheme] = MappingProxyType({"int8": Int8Scheme()})

# What a user says of single parameters: pairs of a pattern and a scheme, None for the model's precision.
Overrides = tuple[tuple[str, Scheme | None], ...]


def choose_scheme(target: str, parameter: Parameter, scheme: Scheme | None, overrides: Overrides = ()) -> Scheme:
    """The scheme of the parameter `target` (its name per layer, e.g. layers.{i}.mixer.qkv) of a model in `scheme`.

    The first override whose pattern ends the name decides; else the scheme does. No matrix: always PLAIN.
    """
    if not parameter.inputs:
        return PLAIN
    for pattern, chosen in overrides:
        if re.search(rf"(?:{pattern})$", target):
            return chosen or PLAIN
    return scheme if scheme is not None and scheme.accepts(parameter) else PLAIN
