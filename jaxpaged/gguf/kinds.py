"""How the numbers of a GGUF tensor are packed, and the way back to floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import ml_dtypes
import numpy as np

PLAIN: Mapping[str, np.dtype] = MappingProxyType(
    {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16)}
)
PACKED = frozenset(
    """
    Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ4_NL IQ4_XS
    TQ1_0 TQ2_0 MXFP4
    """.split()
)


class Kind(NamedTuple):
    """`block` numbers of a row lie in `nbytes` bytes."""

    name: str
    block: int
    nbytes: int

    @property
    def dtype(self) -> np.dtype:
        """Of the numbers once they are read."""
        return PLAIN.get(self.name, np.dtype(np.float32))

    @property
    def readable(self) -> bool:
        return self.name in PLAIN or self.name in PACKED

    def unpack(self, data: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """The numbers in uint8 [bytes of the tensor]."""
        if self.name in PLAIN:
            return data.view(self.dtype).reshape(tuple(shape))
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        rows = data.reshape(*shape[:-1], shape[-1] // self.block * self.nbytes)
        numbers: np.ndarray = dequantize(rows, GGMLQuantizationType[self.name])
        return numbers


@cache
def kinds() -> Mapping[int, Kind]:
    """Every kind of tensor that the gguf package knows, by its number in files."""
    from gguf import GGML_QUANT_SIZES  # here: it takes a quarter of a second, and most models are no GGUF

    return MappingProxyType({int(kind): Kind(kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()})
