"""A GGUF file's metadata by key, as an architecture reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxpaged.errors import UnsupportedModelError, WeightError
from jaxpaged.gguf.files import GgufModel

ARCHITECTURE = "general.architecture"


@dataclass(frozen=True, slots=True)
class Metadata:
    """Keys are given without the architecture's name at their head: "block_count" for "llama.block_count"."""

    model: GgufModel

    @property
    def file(self) -> str:
        """For messages."""
        return str(self.model.files[0])

    @property
    def all(self) -> Mapping[str, Any]:
        return self.model.metadata

    @property
    def architecture(self) -> str:
        name = self.all.get(ARCHITECTURE)
        if not isinstance(name, str):
            raise WeightError(f"{self.file} names no {ARCHITECTURE}; fetch the file again.")
        return name

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the architecture. A list of one value over and over stands for that value."""
        value = self.all.get(f"{self.architecture}.{key}", default)
        if isinstance(value, list) and value and value.count(value[0]) == len(value):
            return value[0]
        return value

    def need(self, key: str, default: int | None = None) -> int:
        """A positive integer. Raises UnsupportedModelError for anything else."""
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UnsupportedModelError(
                f"{self.file} has {self.architecture}.{key}={_short(value)}, where a positive integer is needed."
            )
        return value

    def has(self, tensor: str) -> bool:
        return tensor in self.model.tensors

    def tensor(self, name: str) -> np.ndarray | None:
        """A small tensor's numbers, as a list of float32."""
        stored = self.model.tensors.get(name)
        return None if stored is None else stored.read().astype(np.float32)

    def rows(self, tensor: str) -> int:
        """The length of a tensor's first axis. Raises WeightError where it is missing."""
        if not self.has(tensor):
            raise WeightError(f"{self.file} has no tensor {tensor}; fetch the file again.")
        return self.model.tensors[tensor].shape[0]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
