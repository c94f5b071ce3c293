"""Parents of beams, recorded by record_parents.py from a beam search over the bundled model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTHS = (2, 4, 6, 8)
FILE = Path(__file__).with_name("parents.npz")


def load_parents(width: int) -> NDArray[np.uint8]:
    """Which beam each beam continues: uint8 [recordings, steps, width]. Step 0 continues the prompt, beam 0."""
    with np.load(FILE, allow_pickle=False) as recorded:
        parents: NDArray[np.uint8] = recorded[f"width_{width}"]
        return parents
