"""What can be served, with what it is made of and what it was compared with: `jaxpaged models`.

catalogue.json is written by scripts/make_models_table.py from the parity cases, which an installed package lacks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxpaged.models.registry import Registry

RECORDED = Path(__file__).with_name("catalogue.json")
TRANSFORMERS, OWN, UNKNOWN = "transformers", "own", "unknown"
EXPERTS, LATENT = "experts", "latent attention"


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of config.json's `architectures`.

    reference: what its logits are compared with in float32: the class in transformers, an independent one of our
    tests ("own"), or what another package knows ("unknown").
    """

    architecture: str
    model_type: str
    parts: tuple[str, ...]
    reference: str
    dtypes: tuple[str, ...]
    quantization: tuple[str, ...]
    tensor_parallel: bool
    expert_parallel: bool

    def has(self, part: str) -> bool:
        """Whether one of its parts' words contains this, in any case."""
        return any(part.lower() in word.lower() for word in self.parts)

    def mentions(self, text: str) -> bool:
        """Whether its names or parts do."""
        return any(text.lower() in word.lower() for word in (self.architecture, self.model_type, *self.parts))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def catalogue(registry: Registry) -> tuple[Entry, ...]:
    """Every architecture of a registry, by name."""
    recorded: Mapping[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return tuple(
        entry(name, registry.architectures[name].model_type, **recorded.get(name, {"parts": (), "reference": UNKNOWN}))
        for name in sorted(registry.architectures)
    )


def entry(name: str, model_type: str, parts: tuple[str, ...], reference: str) -> Entry:
    """What is the same for all families is filled in."""
    words = tuple(parts)
    experts = any(EXPERTS in word for word in words)
    return Entry(name, model_type, words, reference, ("float32", "bfloat16", "float16"), ("int8",), True, experts)
