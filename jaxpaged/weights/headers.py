"""What a safetensors file holds, checked before a byte of a tensor is read.

Orbax trusts the headers; the safetensors library checks them: no hole, no overlap, nothing beyond the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from jaxpaged.errors import WeightError
from jaxpaged.hub.pointers import refuse_pointer
from jaxpaged.weights.header_faults import fault, read_raw_header, unreadable

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
