"""Least-recently-used order of pages that nobody holds but that the prefix cache still knows.

A ring of entries in the order of arrival. A page is taken out of the middle by writing the null page over its entry,
which is skipped later, so every operation works on whole arrays.
"""

from __future__ import annotations

import numpy as np

from jaxpaged.scheduling.arrays import NO_INTS, IntArray


class IdlePages:
    """Owner of the LRU order. Pages are distinct within one call and never pushed twice."""

    def __init__(self, num_pages: int) -> None:
        self._entries = np.zeros(2 * num_pages + 1, np.int32)
        self._positions = np.arange(2 * num_pages + 1, dtype=np.int32)
        self._where = np.zeros(num_pages, np.int32)  # the entry of an idle page; stale for the others
        self._head = 1
        self._tail = 1
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, pages: IntArray) -> None:
        """Append pages, the first one to be evicted first."""
        if self._tail + len(pages) > len(self._entries):
            self._compact()
        end = self._tail + len(pages)
        self._entries[self._tail : end] = pages
        self._where[pages] = self._positions[self._tail : end]
        self._tail = end
        self._count += len(pages)

    def discard(self, pages: IntArray) -> None:
        """Take idle pages out, wherever they stand."""
        self._entries[self._where[pages]] = 0
        self._count -= len(pages)

    def pop(self, count: int) -> IntArray:
        """The `count` least recently used pages; there must be as many."""
        parts = []
        while count:
            stop = min(self._head + count, self._tail)
            live = self._live(self._head, stop)
            self._head = stop
            parts.append(live)
            count -= len(live)
            self._count -= len(live)
        return parts[0] if len(parts) == 1 else np.concatenate((NO_INTS, *parts))

    def pages(self) -> IntArray:
        """All idle pages, least recently used first."""
        return self._live(self._head, self._tail)

    def _live(self, start: int, stop: int) -> IntArray:
        block = self._entries[start:stop]
        live: IntArray = block[block != 0]
        return live

    def _compact(self) -> None:
        live = self.pages()
        self._head, self._tail = 1, 1 + len(live)
        self._entries[1 : self._tail] = live
        self._where[live] = self._positions[1 : self._tail]
