"""A checkpoint's tensors as arrays that are read from the disk when they are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxpaged.errors import WeightError
from jaxpaged.weights.entries import read_entries
from jaxpaged.weights.headers import TensorEntry
from jaxpaged.weights.torch_file import TorchEntry


def checkpoint_arrays(directory: Path) -> dict[str, np.ndarray]:
    """Every tensor of a directory with safetensors files, by name. Raises WeightError."""
    if not directory.is_dir():
        raise WeightError(f"{directory} is no directory; give one with a checkpoint in safetensors files.")
    files: dict[Path, dict[str, TensorEntry]] = {}
    for name, entry in read_entries(directory).items():
        files.setdefault(entry.file, {})[name] = entry
    return {name: array for file, entries in files.items() for name, array in _mapped(file, entries).items()}


def _mapped(file: Path, entries: dict[str, TensorEntry]) -> dict[str, np.ndarray]:
    """Of a safetensors file the tensors lie one after the other, without holes, up to its end."""
    if any(isinstance(entry, TorchEntry) for entry in entries.values()):
        return {name: entry.array() for name, entry in entries.items() if isinstance(entry, TorchEntry)}
    in_order = sorted(entries.items(), key=lambda item: item[1].place)
    arrays: dict[str, np.ndarray] = {}
    try:
        start = file.stat().st_size - sum(entry.nbytes for entry in entries.values())
        for name, entry in in_order:
            if entry.nbytes:
                arrays[name] = np.memmap(file, entry.dtype, "r", start, entry.shape)
            else:  # numpy maps no empty array
                arrays[name] = np.zeros(entry.shape, entry.dtype)
            start += entry.nbytes
    except (OSError, ValueError) as error:
        raise WeightError(f"{file} changed or broke while it was read: {error}.") from error
    return arrays
