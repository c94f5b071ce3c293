"""What GGUF calls an architecture: which family serves it, and how its file differs from a Hugging Face checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxpaged.gguf.metadata import Metadata

Settings = dict[str, Any]
# The tensor as Hugging Face has it, from the one in the file and the settings of config.json.
Undo = Callable[[np.ndarray, Settings], np.ndarray]


@dataclass(frozen=True, slots=True)
class GgufFamily:
    """settings: config.json's keys from the metadata. names: of tensors without ".weight" and ".bias", GGUF -> HF.

    undo: for some of them (by GGUF's name) what the conversion to GGUF did to the tensor, undone. refused: keys that
    change a model's arithmetic, which this family does not implement.
    """

    served_as: str
    model_type: str
    settings: Callable[[Metadata], Settings]
    names: Mapping[str, str]
    undo: Mapping[str, Undo] = field(default_factory=dict)
    refused: tuple[str, ...] = ("expert_count", "attention.scale", "embedding_scale", "residual_scale", "logit_scale")


def halves(heads_key: str) -> Undo:
    """Rows of each head that lie as pairs for rotation become the first halves of all pairs, then the second ones."""

    def undo(tensor: np.ndarray, settings: Settings) -> np.ndarray:
        pairs = tensor.reshape(settings[heads_key], -1, 2, *tensor.shape[1:])
        return pairs.swapaxes(1, 2).reshape(tensor.shape)

    return undo


def head_by_head(heads_key: str) -> Undo:
    """Rows of all queries, all keys, all values become query, key and value head by head."""

    def undo(tensor: np.ndarray, settings: Settings) -> np.ndarray:
        parts = tensor.reshape(3, settings[heads_key], -1, *tensor.shape[1:])
        return parts.swapaxes(0, 1).reshape(tensor.shape)

    return undo


def transposed(tensor: np.ndarray, settings: Settings) -> np.ndarray:
    """Matrices to [in, out] order; biases stay."""
    return tensor.T


def around_zero(tensor: np.ndarray, settings: Settings) -> np.ndarray:
    """A norm's weights, stored around one."""
    return (tensor.astype(np.float32) - np.float32(1.0)).astype(tensor.dtype)
