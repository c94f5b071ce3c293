"""The page policies of attention: all pages are kept, or those that a sliding window still sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxpaged.kv.kind import IntArray, pages_for


@dataclass(frozen=True, slots=True)
class FullPages:
    """Every token sees all earlier ones: a page is held until its request ends."""

    page_size: int

    def first_page(self, position: int) -> int:
        return 0

    def first_kept(self, positions: IntArray) -> IntArray | None:
        return None

    def most_pages(self, tokens: int, chunk: int) -> int:
        return pages_for(tokens, self.page_size)

    def fresh_pages(self, needed: int, tokens: int, hit: int, chunk: int) -> int:
        return max(needed - hit, 0)

    def pages_to_come(self, tokens: IntArray, end_page: IntArray) -> int:
        wanted = (tokens + (self.page_size - 1)) // self.page_size
        return int(np.maximum(wanted - end_page, 0).sum())

    def usable_hit(self, found: IntArray, length: int) -> int:
        if not length or not found[0]:
            return 0
        gaps = (found[:length] == 0).nonzero()[0]
        return int(gaps[0]) if len(gaps) else length

    def shared_pages(self, pages: int) -> int:
        return pages

    def resume_point(self, tokens: int, planned: int) -> int:
        return tokens


@dataclass(frozen=True, slots=True)
class WindowPages:
    """A token sees the last `window` tokens, itself included: pages behind the window are let go."""

    page_size: int
    window: int

    def first_page(self, position: int) -> int:
        return max(position - self.window + 1, 0) // self.page_size

    def first_kept(self, positions: IntArray) -> IntArray | None:
        pages: IntArray = np.maximum(positions - (self.window - 1), 0) // self.page_size
        return pages

    def most_pages(self, tokens: int, chunk: int) -> int:
        visible = pages_for(self.window - 1 + chunk, self.page_size) + 1
        return min(pages_for(tokens, self.page_size), visible)

    def fresh_pages(self, needed: int, tokens: int, hit: int, chunk: int) -> int:
        # What is needed in all does not tell what is needed beside the hit.
        return min(pages_for(tokens, self.page_size) - hit, pages_for(chunk, self.page_size))

    def pages_to_come(self, tokens: IntArray, end_page: IntArray) -> int:
        return 0  # a row that goes on lets go of about as many as it takes

    def usable_hit(self, found: IntArray, length: int) -> int:
        page = length - 1
        while length and page >= self.first_page(length * self.page_size):
            if found[page]:
                page -= 1
            else:
                length, page = page, page - 1
        return length

    def shared_pages(self, pages: int) -> int:
        return 0

    def resume_point(self, tokens: int, planned: int) -> int:
        return tokens
