"""What the safetensors library lets pass in a header (a name that occurs twice), and words for what it refuses.

Its messages seldom name the tensor; the header's own JSON does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from jaxpaged.errors import WeightError

MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
LENGTH_BYTES = 8
METADATA = "__metadata__"


class RawHeader(NamedTuple):
    """The tensors' entries as they are written, and how many bytes of data follow the header."""

    tensors: dict[str, Any]
    data_bytes: int


def read_raw_header(path: Path) -> RawHeader:
    """Raises WeightError for what is no header, and for one with a name that occurs twice."""
    text, data_bytes = _header_text(path)
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise WeightError(f"{path} has a broken safetensors header ({error}); fetch the file again.") from error
    if not isinstance(header, dict):
        raise WeightError(f"{path} has a safetensors header that is not a JSON object; fetch the file again.")
    return RawHeader({name: info for name, info in header.items() if name != METADATA}, data_bytes)


def fault(path: Path, header: RawHeader, dtypes: Mapping[str, np.dtype], reason: str) -> str:
    """Why the library refuses the file, in a sentence; `reason` is its own, where nothing better can be said."""
    ends: dict[str, int] = {}
    for name, info in header.tensors.items():
        dtype, shape, offsets = (info.get(key) if isinstance(info, dict) else None for key in _KEYS)
        if not isinstance(dtype, str) or dtype not in dtypes:
            return unreadable(path, name, dtype, dtypes)
        if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
            return f"{path}: {name} has a broken shape or offsets ({shape}, {offsets}); fetch the file again."
        size, ends[name] = math.prod(shape) * dtypes[dtype].itemsize, offsets[1]
        if size != offsets[1] - offsets[0]:
            return (
                f"{path}: {name} of shape {shape} and dtype {dtype} takes {size} bytes, "
                f"but its offsets {offsets} hold {offsets[1] - offsets[0]}; fetch the file again."
            )
    return _misfit(path, ends, header.data_bytes, reason)


def unreadable(path: Path, tensor: str, dtype: object, dtypes: Mapping[str, np.dtype]) -> str:
    return f"{path}: {tensor} has the dtype {dtype}; readable are {', '.join(dtypes)}."


_KEYS = ("dtype", "shape", "data_offsets")


def _misfit(path: Path, ends: Mapping[str, int], data_bytes: int, reason: str) -> str:
    """Of tensors that are right, each for itself. ends: where each ends in the data."""
    last = max(ends, key=ends.__getitem__, default="")
    if ends and ends[last] > data_bytes:
        first = next(name for name in sorted(ends, key=ends.__getitem__) if ends[name] > data_bytes)
        return (
            f"{path} is truncated: {first} ends at byte {ends[first]} of its data, which has {data_bytes}; "
            "fetch the file again."
        )
    if "invalid offset for tensor" in reason:
        tensor = reason.split("`")[1]
        return f"{path}: {tensor} overlaps the tensor before it or leaves a hole before it; fetch the file again."
    if (end := ends.get(last, 0)) < data_bytes:
        return f"{path} has {data_bytes - end} bytes after its last tensor; fetch the file again."
    return f"{path} has a broken safetensors header ({reason}); fetch the file again."


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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} occurs twice")
    return dict(pairs)


def _naturals(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
