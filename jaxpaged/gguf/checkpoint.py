"""A GGUF model's tensors under the names, and in the form, that a Hugging Face checkpoint has."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from jaxpaged.errors import WeightError
from jaxpaged.gguf.family import GgufFamily, Settings, Undo, transposed
from jaxpaged.gguf.files import GgufModel
from jaxpaged.gguf.header import StoredTensor
from jaxpaged.gguf.metadata import Metadata
from jaxpaged.gguf.registry import find_family
from jaxpaged.gguf.rope import TABLES

_BLOCK = re.compile(r"blk\.([0-9]+)\.")


@dataclass(frozen=True, slots=True)
class CheckpointTensor:
    """`settings` are config.json's, for what undoes the conversion."""

    stored: StoredTensor
    undo: Undo | None
    settings: Settings

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape[::-1] if self.undo is transposed else self.stored.shape

    @property
    def dtype(self) -> np.dtype:
        return self.stored.kind.dtype

    def read(self) -> np.ndarray:
        """From the disk, as float32 or what a plain tensor is stored in. Raises WeightError."""
        tensor = self.stored.read()
        return tensor if self.undo is None else self.undo(tensor, self.settings)


def checkpoint_tensors(model: GgufModel) -> dict[str, CheckpointTensor]:
    """Every tensor but rotary tables; one whose name the family does not know keeps it. Raises ConfigError."""
    metadata = Metadata(model)
    family = find_family(metadata)
    settings = family.settings(metadata)
    renamed: dict[str, CheckpointTensor] = {}
    for stored in model.tensors.values():
        if stored.name not in TABLES:
            name, undo = _renamed(family, stored.name)
            if name in renamed:
                raise WeightError(
                    f"{stored.file} has {stored.name!r} and {renamed[name].stored.name!r}, which are one tensor; "
                    "fetch the file again."
                )
            renamed[name] = CheckpointTensor(stored, undo, settings)
    return renamed


def _renamed(family: GgufFamily, name: str) -> tuple[str, Undo | None]:
    base, _, kind = name.rpartition(".")
    block = _BLOCK.match(base)
    pattern = f"blk.{{i}}.{base[block.end() :]}" if block else base
    if pattern not in family.names or kind not in ("weight", "bias"):
        return name, None
    layer = block[1] if block else ""
    return f"{family.names[pattern].format(i=layer)}.{kind}", family.undo.get(pattern)
