"""What a directory of safetensors files holds, checked before a byte of a tensor is read.

Orbax trusts the headers; the safetensors library checks them: no hole, no overlap, nothing beyond the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from jaxpaged.errors import WeightError
from jaxpaged.hub.model_directory import OTHER_WEIGHTS, read_json
from jaxpaged.hub.pointers import refuse_pointer
from jaxpaged.weights.header_faults import fault, read_raw_header, unreadable

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

# The dtypes that Orbax reads.
DTYPES: Mapping[str, np.dtype] = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        "U8": np.dtype(np.uint8),
        "I8": np.dtype(np.int8),
        "U16": np.dtype(np.uint16),
        "I16": np.dtype(np.int16),
        "U32": np.dtype(np.uint32),
        "I32": np.dtype(np.int32),
        "U64": np.dtype(np.uint64),
        "I64": np.dtype(np.int64),
        "F16": np.dtype(np.float16),
        "BF16": np.dtype(ml_dtypes.bfloat16),
        "F32": np.dtype(np.float32),
        "F64": np.dtype(np.float64),
        "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
        "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    }
)


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor is: the `place`-th in its file."""

    file: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    place: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_entries(directory: Path) -> dict[str, TensorEntry]:
    """Every tensor of a Hugging Face directory, by name. Raises WeightError naming the file and the tensor."""
    index = directory / INDEX
    if not index.is_file():
        return _merge({path: read_header(path) for path in _without_index(directory)})
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise WeightError(f"{index} has no weight_map; fetch the file again.")
    for tensor, name in weight_map.items():
        _check_shard_name(index, tensor, name)
    entries = _merge({directory / name: read_header(directory / name) for name in sorted(set(weight_map.values()))})
    _check_against_index(index, weight_map, entries)
    return entries


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of one safetensors file. Raises WeightError naming the file and, where it can, the tensor."""
    refuse_pointer(path)
    header = read_raw_header(path)
    try:
        with safe_open(path, framework="numpy") as file:
            slices = [(name, file.get_slice(name)) for name in file.offset_keys()]
            found = [(name, each.get_dtype(), tuple(each.get_shape())) for name, each in slices]
    except SafetensorError as error:
        raise WeightError(fault(path, header, DTYPES, str(error))) from error
    for name, dtype, _ in found:
        if dtype not in DTYPES:
            raise WeightError(unreadable(path, name, dtype, DTYPES))
    return {name: TensorEntry(path, shape, DTYPES[dtype], place) for place, (name, dtype, shape) in enumerate(found)}


def _without_index(directory: Path) -> list[Path]:
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        others = [path for pattern in OTHER_WEIGHTS for path in sorted(directory.glob(pattern))]
        found = f"; {others[0].name} is of a kind that is not read, convert it to safetensors" if others else ""
        raise WeightError(f"{directory} holds no *.safetensors file{found}.")
    return files


def _check_shard_name(index: Path, tensor: str, name: Any) -> None:
    if not isinstance(name, str) or name != Path(name).name or not name.endswith(".safetensors"):
        raise WeightError(f"{index} puts {tensor} into {name!r}, which is no *.safetensors file name; fetch it again.")
    if not (index.parent / name).is_file():
        raise WeightError(f"{index.parent / name} is missing, but {INDEX} puts {tensor} into it; fetch it again.")


def _check_against_index(index: Path, weight_map: Mapping[str, str], entries: Mapping[str, TensorEntry]) -> None:
    for tensor in sorted(weight_map.keys() ^ entries.keys()):
        where = "listed in it but in no shard" if tensor in weight_map else f"in {entries[tensor].file.name} only"
        raise WeightError(f"{index} and its shards disagree: {tensor} is {where}; fetch the checkpoint again.")
    for tensor, name in weight_map.items():
        if entries[tensor].file.name != name:
            raise WeightError(f"{index} puts {tensor} into {name}, but it is in {entries[tensor].file.name}.")


def _merge(files: Mapping[Path, Mapping[str, TensorEntry]]) -> dict[str, TensorEntry]:
    merged: dict[str, TensorEntry] = {}
    for path, entries in files.items():
        for tensor in sorted(entries.keys() & merged.keys()):
            raise WeightError(f"{tensor} is in both {merged[tensor].file} and {path}; remove one of the files.")
        merged.update(entries)
    return merged
