"""Who holds which page of one cache group on one data shard.

A page is free (in the stack), idle (unheld, but the prefix cache knows its content) or held by `refs` holders: table
entries of rows, and named holds. Page 0 is the null page: never given away, freed, published or counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxpaged.errors import InvariantError
from jaxpaged.scheduling.arrays import NO_INTS, IntArray
from jaxpaged.scheduling.digest_table import Digests, DigestTable
from jaxpaged.scheduling.idle_pages import IdlePages

_ONE = np.int32(1)  # ufunc.at is forty times slower with a Python 1


@dataclass(frozen=True, slots=True)
class Hold:
    """Pages kept alive by something that is not a row: pinned, or in transfer."""

    name: str
    pages: IntArray


class PageAllocator:
    """Owner of the pages 1..num_pages-1. Calls take whole arrays; one page or a thousand cost nearly the same."""

    def __init__(self, num_pages: int) -> None:
        if num_pages < 2:
            raise InvariantError(f"a pool of {num_pages} pages has no page beside the null page")
        self.num_pages = num_pages
        self.refs = np.zeros(num_pages, np.int32)
        self._stack = np.arange(num_pages - 1, 0, -1, dtype=np.int32)
        self._num_free = num_pages - 1
        self._idle = IdlePages(num_pages)
        self._contents = DigestTable(num_pages)
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
    def num_in_tables(self) -> int:
        """Held pages, less those that nothing but names hold."""
        if not self._holds:
            return self.num_held
        pages, times = np.unique(np.concatenate([hold.pages for hold in self._holds.values()]), return_counts=True)
        return self.num_held - int((self.refs[pages] == times).sum())

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
        pages: IntArray = self._stack[self._num_free : self._num_free + fresh][::-1]
        if fresh < count:
            evicted = self._idle.pop(count - fresh)
            self._contents.remove(evicted)
            pages = np.concatenate((pages, evicted))
        else:
            pages = pages.copy()
        self.refs[pages] = 1
        return pages

    def acquire(self, pages: IntArray) -> None:
        """One more holder for each page, held or idle (a prefix hit). Pages may repeat."""
        self._idle.discard(self._distinct(pages[self.refs[pages] == 0]))
        np.add.at(self.refs, pages.astype(np.intp), _ONE)

    def release(self, pages: IntArray) -> None:
        """One holder less for each page; pages may repeat. Of those nobody holds now, the first become idle first.

        Raises InvariantError when a page has no holder.
        """
        if np.count_nonzero(self.refs[pages] == 1) == len(pages):  # nothing is shared, so nothing repeats
            self.refs[pages] = 0
            dead = pages
        else:
            dead = self._release_shared(pages)
        known = self._contents.known[dead]
        self._idle.push(dead[known])
        self._push_free(dead[~known])
        if self._forked:
            self._forked = {page for page in self._forked if self._is_fork(page)}

    def _release_shared(self, pages: IntArray) -> IntArray:
        """The pages that nobody holds any more."""
        np.subtract.at(self.refs, pages.astype(np.intp), _ONE)
        left = self.refs[pages]
        if int(left.min()) < 0:
            raise InvariantError(f"pages released too often: {sorted(set(pages[left < 0].tolist()))}")
        return self._distinct(pages[left == 0])

    def _is_fork(self, page: int) -> bool:
        """Whether a partly filled page is still shared, or known to the prefix cache as another holder filled it."""
        return int(self.refs[page]) > 1 or (int(self.refs[page]) == 1 and bool(self._contents.known[page]))

    def fork(self, pages: IntArray, partly_filled: int = 0) -> None:
        """Share pages with one more holder. `partly_filled` names the page, if any, that its holders will write to."""
        self.acquire(pages)
        if partly_filled:
            self._forked.add(partly_filled)

    def must_copy(self, page: int) -> bool:
        """Whether a write to this page would be seen by another holder, or by the prefix cache."""
        return page in self._forked and (int(self.refs[page]) > 1 or bool(self._contents.known[page]))

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

    def pinned(self) -> IntArray:
        """The pages that are held by name, without repetitions."""
        return np.unique(np.concatenate([NO_INTS, *[hold.pages for hold in self._holds.values()]]))

    # --- content known to the prefix cache ---

    def find(self, digests: Digests) -> IntArray:
        """The page with each content, or 0: int32 [n]."""
        return self._contents.find(digests)

    def idle_among(self, pages: IntArray) -> int:
        """How many of these pages acquire() would take from the available ones."""
        return int(np.count_nonzero(self.refs[pages] == 0))

    def publish(self, pages: IntArray, digests: Digests) -> None:
        """Make the content of held, full pages findable."""
        self._contents.add(pages, digests)

    def forget_all(self) -> None:
        """Unpublish every page; idle ones become free."""
        self._contents.clear()
        self._push_free(self._idle.pop(len(self._idle)))

    def _push_free(self, pages: IntArray) -> None:
        self._stack[self._num_free : self._num_free + len(pages)] = pages
        self._num_free += len(pages)

    def _distinct(self, pages: IntArray) -> IntArray:
        """Pages without repetitions, in order."""
        if len(pages) < 2:
            return pages
        places = np.arange(len(pages), dtype=np.int32)
        self._scratch[pages[::-1]] = places[::-1]
        first: IntArray = pages[self._scratch[pages] == places]
        return first

    # --- audit ---

    def check(self, held: IntArray = NO_INTS) -> None:
        """Raise InvariantError unless free + idle + held = all, disjoint, and refs = entries of `held` + holds."""
        self._contents.check()
        expected = np.bincount(held, minlength=self.num_pages)
        for hold in self._holds.values():
            expected += np.bincount(hold.pages, minlength=self.num_pages)
        idle, free = self._idle.pages(), self._stack[: self._num_free]
        state = np.zeros(self.num_pages, np.int32)
        np.add.at(state, np.concatenate((idle, free, np.flatnonzero(self.refs))), 1)
        known = self._contents.known
        problems = {
            "a page outside 1..num_pages-1 is held": len(held) and (held.min() < 1 or held.max() >= self.num_pages),
            "refs differ from the holders": not np.array_equal(expected, self.refs),
            "pages are lost or in two states": state[0] != 0 or not (state[1:] == 1).all(),
            "the idle count is wrong": len(idle) != len(self._idle),
            "the null page is published": known[0],
            "an idle page is not published": not known[idle].all(),
            "a free page is published": known[free].any(),
            "a forked page has no holder": any(self.refs[page] < 1 for page in self._forked),
        }
        wrong = [problem for problem, found in problems.items() if found]
        if wrong:
            raise InvariantError("page allocator: " + "; ".join(wrong))
