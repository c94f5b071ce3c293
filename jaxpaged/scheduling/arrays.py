"""Array types, and the index arithmetic of ragged ranges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int32]
RowArray = NDArray[np.intp]  # used as an index: numpy would widen int32 anew at every use
BoolArray = NDArray[np.bool_]

NO_INTS: IntArray = np.zeros(0, np.int32)
NO_INTS.flags.writeable = False
NO_ROWS: RowArray = np.zeros(0, np.intp)
NO_ROWS.flags.writeable = False
NO_FLAGS: BoolArray = np.zeros(0, np.bool_)
NO_FLAGS.flags.writeable = False


def ragged_range(starts: RowArray, counts: IntArray) -> RowArray:
    """starts[0], starts[0]+1, ... (counts[0] of them), then the same for 1, 2, ...: [sum(counts)]."""
    before = counts.cumsum() - counts
    first: RowArray = (starts - before).repeat(counts)
    return first + np.arange(len(first))
