"""Page arithmetic of one cache group: how many pages tokens need, and which of them a sliding window has passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxpaged.kv.spec import CacheGroup


@dataclass(frozen=True, slots=True)
class PageGeometry:
    """Pages of `page_size` tokens; a query sees the last `window` tokens, itself included, or all (None)."""

    page_size: int
    window: int | None

    def pages_for(self, tokens: int) -> int:
        """Pages that `tokens` tokens fill, the last one perhaps partly."""
        return -(-tokens // self.page_size)

    def first_page(self, position: int) -> int:
        """Table index of the first page that a query at `position`, or any later one, can see."""
        if self.window is None:
            return 0
        return max(position - self.window + 1, 0) // self.page_size

    def most_pages(self, tokens: int, chunk: int) -> int:
        """Pages a request of `tokens` tokens holds at most, when at most `chunk` tokens are computed in a step."""
        if self.window is None:
            return self.pages_for(tokens)
        return min(self.pages_for(tokens), self.pages_for(self.window - 1 + chunk) + 1)


def geometries(groups: Sequence[CacheGroup], page_size: int) -> tuple[PageGeometry, ...]:
    """One PageGeometry per cache group."""
    return tuple(PageGeometry(page_size, group.window) for group in groups)
