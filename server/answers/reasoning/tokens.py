"""How many tokens of an answer are reasoning: those with text between its marks, which do not count themselves."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

from jaxpaged import CompletionOutput


class ReasoningTokens:
    """Remembers where the text of each token ends, four bytes a token."""

    def __init__(self) -> None:
        self._ends = array("I")

    def note(self, completion: CompletionOutput) -> None:
        """More tokens of the answer."""
        self._ends.extend(completion.text_ends)

    def count(self, thoughts: Sequence[tuple[int, int | None]]) -> int:
        """`thoughts` are places in the text, [begin, end); the last one may be without an end yet."""
        return sum(self._between(begin, end) for begin, end in thoughts)

    def _between(self, begin: int, end: int | None) -> int:
        ends, first = self._ends, 0
        if begin:  # after the token with which the mark ends; one that goes on after it counts
            first = bisect_left(ends, begin)
            first += first < len(ends) and ends[first] == begin
        last = len(ends) if end is None else bisect_left(ends, end) + 1
        return max(0, min(last, len(ends)) - first)
