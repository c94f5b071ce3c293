"""Array types, and the index arithmetic of ragged ranges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int32]
RowArray = NDArray[np.intp]  # rows used as an index: numpy would widen int32 anew at every use
BoolArray = NDArray[np.bool_]

NO_INTS: IntArray = np.zeros(0, np.int32)
NO_INTS.flags.writeable = False


def ragged_range(starts: IntArray, counts: IntArray) -> IntArray:
    """starts[0], starts[0]+1, ... (counts[0] of them), then the same for 1, 2, ...: int32 [sum(counts)]."""
    ends = counts.cumsum(dtype=np.int32)
    first = (starts - ends + counts).repeat(counts)
    return first + np.arange(len(first), dtype=np.int32)
