"""The longest context whose KV pages fit into the memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

LEAST = 256  # tokens: less is of no use, and the error that says what is missing helps more


def longest_that_fits(fits: Callable[[int], bool], most: int, step: int) -> int | None:
    """The largest multiple of `step` below `most` tokens for which `fits` holds; None if LEAST does not.

    What fits must stay so when it gets shorter.
    """
    least = -(-min(LEAST, most) // step)
    sizes = range(least, -(-most // step))
    count = bisect_left(sizes, True, key=lambda size: not fits(size * step))
    return sizes[count - 1] * step if count else None
