"""Who holds which page of one cache group on one data shard.

A page is free (in the stack), idle (unheld, but the prefix cache knows its content) or held by `refs` holders: table
entries of rows, and named holds. Page 0 is the null page: never given away, freed, published or counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxpaged.errors import InvariantError
from jaxpaged.scheduling.arrays import NO_INTS, IntArray
from jaxpaged.scheduling.idle_pages import IdlePages


@dataclass(frozen=True, slots=True)
class Hold:
    """Pages kept alive by something that is not a row: pinned, or in transfer."""

    name: str
    pages: IntArray


class PageAllocator:
    """Owner of the pages 1..num_pages-1. Calls take whole arrays; one element or a thousand cost nearly the same."""

    def __init__(self, num_pages: int) -> None:
        if num_pages < 2:
            raise InvariantError(f"a pool of {num_pages} pages has no page beside the null page")
        self.num_pages = num_pages
        self.refs = np.zeros(num_pages, np.int32)
        self._stack = np.arange(num_pages - 1, 0, -1, dtype=np.int32)
        self._num_free = num_pages - 1
        self._idle = IdlePages(num_pages)
        self._published = np.zeros(num_pages, np.bool_)
        self._digests = np.full(num_pages, None, dtype=object)
        self._by_digest: dict[bytes, int] = {}
        self._holds: dict[str, Hold] = {}
        self._forked: set[int] = set()  # shared while partly filled: not to be written without a copy
        self._scratch = np.zeros(num_pages, np.int32)

    @property
    def available(self) -> int:
        """Pages that allocate() can give."""
        return self._num_free + len(self._idle)

    @property
    def num_held(self) -> int:
        return self.num_pages - 1 - self.available

    @property
    def num_idle(self) -> int:
        return len(self._idle)

    @property
    def has_forks(self) -> bool:
        return bool(self._forked)

    def allocate(self, count: int) -> IntArray:
        """`count` pages with one holder each, free ones first, then the least recently used idle ones.

        All or nothing: raises InvariantError, changing nothing, when fewer are available.
        """
        if count > self.available:
            raise InvariantError(f"{count} pages wanted, {self.available} available")
        fresh = min(count, self._num_free)
        self._num_free -= fresh
        pages = self._stack[self._num_free : self._num_free + fresh][::-1].copy()
        if fresh < count:
            pages = np.concatenate((pages, self._evict(count - fresh)))
        self.refs[pages] = 1
        return pages

    def acquire(self, pages: IntArray) -> None:
        """One more holder for each page, held or idle (a prefix hit). Pages may repeat."""
        idle = self._distinct(pages[self.refs[pages] == 0])
        self._idle.discard(idle)
        np.add.at(self.refs, pages, 1)

    def release(self, pages: IntArray) -> None:
        """One holder less for each page; pages may repeat. Of those nobody holds now, the first become idle first.

        Raises InvariantError when a page has no holder.
        """
        if not len(pages):
            return
        np.subtract.at(self.refs, pages, 1)
        left = self.refs[pages]
        if int(left.min()) < 0 or not pages.all():
            raise InvariantError(f"pages released too often: {sorted(set(pages[(left < 0) | (pages == 0)].tolist()))}")
        if self._forked:
            self._forked.difference_update(pages[(left == 0) | (left == 1) & ~self._published[pages]].tolist())
        dead = self._distinct(pages[left == 0])
        published = self._published[dead]
        self._idle.push(dead[published])
        self._push_free(dead[~published])

    def fork(self, pages: IntArray, partly_filled: int = 0) -> None:
        """Share pages with one more holder. `partly_filled` names the page, if any, that its holders will write to."""
        self.acquire(pages)
        if partly_filled:
            self._forked.add(partly_filled)

    def must_copy(self, page: int) -> bool:
        """Whether a write to this page would be seen by another holder, or by the prefix cache."""
        return page in self._forked and (int(self.refs[page]) > 1 or bool(self._published[page]))

    def copy_on_write(self, page: int) -> int:
        """A page of one's own instead of a shared one; the caller has its content copied. Takes one available page."""
        own = int(self.allocate(1)[0])
        self.release(np.array([page], np.int32))
        return own

    def hold(self, name: str, pages: IntArray) -> Hold:
        """Keep pages alive under a name. Raises InvariantError when the name is taken."""
        if name in self._holds:
            raise InvariantError(f"a hold named {name!r} exists already")
        self.acquire(pages)
        self._holds[name] = Hold(name, pages.copy())
        return self._holds[name]

    def release_hold(self, name: str) -> None:
        self.release(self._holds.pop(name).pages)

    # --- content known to the prefix cache ---

    def find(self, digests: Sequence[bytes]) -> list[int]:
        """The page with each content, or 0."""
        return [self._by_digest.get(digest, 0) for digest in digests]

    def prefix_length(self, digests: Sequence[bytes]) -> int:
        """How many digests, from the first on, are known without a gap."""
        for index, digest in enumerate(digests):
            if digest not in self._by_digest:
                return index
        return len(digests)

    def idle_among(self, pages: Sequence[int]) -> int:
        """How many of these pages acquire() would take from the available ones."""
        return int(np.count_nonzero(self.refs[np.array(pages, np.int32)] == 0)) if pages else 0

    def publish(self, pages: IntArray, digests: Sequence[bytes]) -> None:
        """Make the content of held, full pages findable. Where a digest is known already, its first page stays."""
        owners = np.fromiter(map(self._by_digest.setdefault, digests, pages.tolist()), np.int32, len(pages))
        new = np.flatnonzero(owners == pages)
        if len(new) < len(pages):
            pages, digests = pages[new], [digests[i] for i in new.tolist()]
        self._digests[pages] = digests
        self._published[pages] = True

    def forget_all(self) -> None:
        """Unpublish every page; idle ones become free."""
        self._by_digest.clear()
        self._digests[:] = None
        self._published[:] = False
        self._push_free(self._idle.pop(len(self._idle)))

    def _evict(self, count: int) -> IntArray:
        pages = self._idle.pop(count)
        for digest in self._digests[pages].tolist():
            del self._by_digest[digest]
        self._digests[pages] = None
        self._published[pages] = False
        return pages

    def _push_free(self, pages: IntArray) -> None:
        self._stack[self._num_free : self._num_free + len(pages)] = pages
        self._num_free += len(pages)

    def _distinct(self, pages: IntArray) -> IntArray:
        """Pages without repetitions, in order."""
        if len(pages) < 2:
            return pages
        back = np.arange(len(pages), 0, -1, dtype=np.int32)
        self._scratch[pages[::-1]] = back[::-1]
        return pages[self._scratch[pages] == back]

    # --- audit ---

    def check(self, held: IntArray = NO_INTS) -> None:
        """Raise InvariantError unless free + idle + held = all, disjoint, and refs = entries of `held` + holds."""
        expected = np.bincount(held, minlength=self.num_pages)
        for hold in self._holds.values():
            expected += np.bincount(hold.pages, minlength=self.num_pages)
        idle, free = self._idle.pages(), self._stack[: self._num_free]
        state = np.zeros(self.num_pages, np.int32)
        np.add.at(state, np.concatenate((idle, free, np.flatnonzero(self.refs))), 1)
        findable = np.flatnonzero(self._published)
        problems = {
            "a page outside 1..num_pages-1 is held": len(held) and (held.min() < 1 or held.max() >= self.num_pages),
            "refs differ from the holders": not np.array_equal(expected, self.refs),
            "pages are lost or in two states": state[0] != 0 or not (state[1:] == 1).all(),
            "the idle count is wrong": len(idle) != len(self._idle),
            "digests and pages do not map both ways": self._by_digest
            != dict(zip(self._digests[findable].tolist(), findable.tolist(), strict=True)),
            "an idle page is not published": not self._published[idle].all(),
            "a free page is published": self._published[free].any(),
            "a forked page has no holder": any(self.refs[page] < 1 for page in self._forked),
        }
        wrong = [problem for problem, found in problems.items() if found]
        if wrong:
            raise InvariantError("page allocator: " + "; ".join(wrong))
