"""Reads tensors of GGUF files into sharded arrays, dequantized one tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from jax.sharding import Mesh

from jaxpaged.gguf.checkpoint import CheckpointTensor, checkpoint_tensors
from jaxpaged.gguf.files import read_model
from jaxpaged.weights.checkpoint import source_struct
from jaxpaged.weights.headers import TensorEntry


@dataclass(frozen=True)
class GgufReader:
    """Tensors by their names in a Hugging Face checkpoint, onto a mesh."""

    tensors: Mapping[str, CheckpointTensor]
    entries: Mapping[str, TensorEntry]
    mesh: Mesh

    @classmethod
    def open(cls, files: tuple[Path, ...], mesh: Mesh) -> GgufReader:
        """Read the headers. Raises ConfigError."""
        tensors = checkpoint_tensors(read_model(files))
        entries = {
            name: TensorEntry(tensor.stored.file, tensor.shape, tensor.dtype, tensor.stored.start)
            for name, tensor in tensors.items()
        }
        return cls(tensors, entries, mesh)

    def read(self, names: Sequence[str]) -> dict[str, jax.Array]:
        """These tensors, their first axis over `model` where it divides. Raises WeightError."""
        return {name: self._placed(self.tensors[name]) for name in names}

    def _placed(self, tensor: CheckpointTensor) -> jax.Array:
        struct = source_struct(tensor.shape, tensor.dtype, self.mesh)
        placed: jax.Array = jax.device_put(tensor.read(), struct.sharding)
        return placed
