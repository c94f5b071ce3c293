"""A map from page digest to page, as numpy arrays, so that thousands of pages are found, added and removed at once.

Organised as a processor's cache: the digest chooses a set of eight places, and lives in one of them. No chains, no
tombstones, no rebuilding. Digests are uniformly distributed, and there are more sets than pages; a digest whose set is
full is not kept, which costs a later hit and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jaxpaged.errors import InvariantError
from jaxpaged.scheduling.arrays import BoolArray, IntArray, RowArray

WAYS = 8
DIGEST_BYTES = 32
Digests = NDArray[np.uint64]  # [n, 4]


def as_digests(digests: Sequence[bytes]) -> Digests:
    """Digests, some of them perhaps concatenated already, as uint64 [n, 4], read-only."""
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, DIGEST_BYTES // 8)


class DigestTable:
    """Owner of what is known about the content of pages. Page 0 stands for "not found".

    The tag of a place is the first word of the digest of its page, and 0 where there is none (a digest that begins with
    64 zero bits is as improbable as two equal ones). The tags of a set are one line of the processor's cache.
    """

    def __init__(self, num_pages: int) -> None:
        num_sets = 1 << num_pages.bit_length()
        self._mask = np.uint64(num_sets - 1)
        self._tags = np.zeros((num_sets, WAYS), np.uint64)
        self._tag_of_place = self._tags.reshape(-1)
        self._page_of_place = np.zeros(num_sets * WAYS, np.int32)
        self._place_of = np.zeros(num_pages, np.intp)
        self._digests: Digests = np.zeros((num_pages, DIGEST_BYTES // 8), np.uint64)
        self.known: BoolArray = np.zeros(num_pages, np.bool_)

    def find(self, digests: Digests) -> IntArray:
        """The page of each digest, or 0: int32 [n]."""
        sets = self._sets(digests)
        return self._pages(digests, sets, self._tags.take(sets, axis=0) == digests[:, :1])

    def add(self, pages: IntArray, digests: Digests) -> None:
        """Remember the digests of pages that have none. Where a digest is known already, its first page stays."""
        while len(pages):
            sets = self._sets(digests)
            tags = self._tags.take(sets, axis=0)
            places = (tags == 0).argmax(axis=1)
            places += sets * WAYS
            wanted = self._tag_of_place[places] == 0
            same = tags == digests[:, :1]
            if np.count_nonzero(same):
                wanted &= self._pages(digests, sets, same) == 0
            if np.count_nonzero(wanted) < len(pages):
                pages, digests, places = pages[wanted], digests[wanted], places[wanted]
            self._page_of_place[places] = pages  # of several that want the same place, one gets it
            lost = self._page_of_place[places] != pages
            if not np.count_nonzero(lost):
                self._place(pages, digests, places)
                return
            self._place(pages[~lost], digests[~lost], places[~lost])
            pages, digests = pages[lost], digests[lost]

    def remove(self, pages: IntArray) -> None:
        """Forget what is known of pages."""
        self._tag_of_place[self._place_of[pages]] = 0
        self.known[pages] = False

    def clear(self) -> None:
        self._tags[:] = 0
        self.known[:] = False

    def check(self) -> None:
        """Raise InvariantError unless places and known pages map both ways and no digest is there twice."""
        known = self.known.nonzero()[0]
        if not np.array_equal(np.sort(self._page_of_place[self._tag_of_place != 0]), known):
            raise InvariantError("digest table: places and known pages differ")
        if not np.array_equal(self.find(self._digests[known]), known):
            raise InvariantError("digest table: a page is not found by its digest, or two pages have the same")

    def _place(self, pages: IntArray, digests: Digests, places: RowArray) -> None:
        self._tag_of_place[places] = digests[:, 0]
        self._place_of[pages] = places
        self._digests[pages] = digests
        self.known[pages] = True

    def _sets(self, digests: Digests) -> RowArray:
        """The set of each digest [n], chosen by its first word."""
        return (digests[:, 0] & self._mask).view(np.intp)

    def _pages(self, digests: Digests, sets: RowArray, same: BoolArray) -> IntArray:
        """The page of each digest, or 0; same [n, WAYS]: which places of its set have its tag."""
        pages = np.zeros(len(digests), np.int32)
        if np.count_nonzero(same):
            hits = same.view(np.uint64).reshape(-1).nonzero()[0]  # eight ways are eight bytes
            candidates = self._page_of_place[sets[hits] * WAYS + same[hits].argmax(axis=1)]
            pages[hits] = candidates * (self._digests[candidates] == digests[hits]).all(axis=1)
        return pages
