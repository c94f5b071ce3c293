"""What a directory of safetensors files holds, checked before a byte of a tensor is read.

Orbax trusts the headers; these checks are what the format's description demands
(https://github.com/huggingface/safetensors#format): no hole, no overlap, nothing beyond the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeGuard

import ml_dtypes
import numpy as np

from jaxpaged.errors import WeightError
from jaxpaged.hub.model_directory import OTHER_WEIGHTS, read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
LENGTH_BYTES = 8

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
    """Where a tensor is: `start` is the offset of its first byte in the file's data section."""

    file: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int

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
    """The tensors of one safetensors file. Raises WeightError naming the file and the tensor."""
    text, data_bytes = _header_text(path)
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise WeightError(f"{path} has a broken safetensors header ({error}); fetch the file again.") from error
    if not isinstance(header, dict):
        raise WeightError(f"{path} has a safetensors header that is not a JSON object; fetch the file again.")
    entries = {name: _entry(path, name, info) for name, info in header.items() if name != "__metadata__"}
    _check_offsets(path, entries, data_bytes)
    return entries


def _header_text(path: Path) -> tuple[bytes, int]:
    """The header, and how many bytes of data follow it."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if not 2 <= length <= min(MAX_HEADER_BYTES, size - LENGTH_BYTES):
                raise WeightError(f"{path} is truncated or no safetensors file: {length} header bytes in {size} bytes.")
            return file.read(length), size - LENGTH_BYTES - length
    except OSError as error:
        raise WeightError(f"{path} cannot be read ({error.strerror}).") from error


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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} occurs twice")
    return dict(pairs)


def _entry(path: Path, tensor: str, info: Any) -> TensorEntry:
    fields: dict[str, Any] = info if isinstance(info, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise WeightError(f"{path}: {tensor} has the dtype {dtype}; readable are {', '.join(DTYPES)}.")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise WeightError(f"{path}: {tensor} has a broken shape or offsets ({shape}, {offsets}); fetch the file again.")
    entry = TensorEntry(path, tuple(shape), DTYPES[dtype], offsets[0])
    if entry.nbytes != offsets[1] - offsets[0]:
        raise WeightError(
            f"{path}: {tensor} of shape {shape} and dtype {dtype} takes {entry.nbytes} bytes, "
            f"but its offsets {offsets} hold {offsets[1] - offsets[0]}; fetch the file again."
        )
    return entry


def _naturals(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_offsets(path: Path, entries: Mapping[str, TensorEntry], data_bytes: int) -> None:
    """Tensors fill the data section exactly, without a hole or an overlap."""
    ordered = sorted(entries.items(), key=lambda item: (item[1].start, item[1].nbytes))
    for tensor, entry in ordered:
        if entry.start + entry.nbytes > data_bytes:
            raise WeightError(
                f"{path} is truncated: {tensor} ends at byte {entry.start + entry.nbytes} of its data, "
                f"which has {data_bytes}; fetch the file again."
            )
    end = 0
    for tensor, entry in ordered:
        if entry.start != end:
            what = "overlaps the tensor before it" if entry.start < end else "leaves a hole before it"
            raise WeightError(f"{path}: {tensor} {what} (offset {entry.start}, expected {end}); fetch the file again.")
        end += entry.nbytes
    if end != data_bytes:
        raise WeightError(f"{path} has {data_bytes - end} bytes after its last tensor; fetch the file again.")
