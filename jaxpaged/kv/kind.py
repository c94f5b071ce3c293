"""The two sides of a cache kind: the page that the device keeps, and the host's policy for its page tables.

A kind of layer that keeps something else than keys and values brings a CacheKind of its own; the scheduler, the pool
and the step programs ask it and know no kind by name.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pallas_kernels.paged_attention import PoolLayout

IntArray = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class PageArray:
    """What one page of one layer is on the device; a pool is [layer, page, *shape].

    axes: logical names, which decide what is split over the devices (sharding/rules.py); None: every device has it all.
    dtype: the name of a dtype; None: that of the model.
    """

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    dtype: str | None = None


@runtime_checkable
class CacheKind(Hashable, Protocol):
    """What one layer keeps of the tokens so far, as frozen data. Layers of equal kinds share a page table and a pool.

    An entry of a page table stands for `page_size` tokens; what its page holds of them is the kind's own affair.
    """

    @property
    def keeps_all(self) -> bool:
        """Whether a request keeps each page to its end. Such groups come first: they bound the tokens in the pool."""
        ...

    def page_array(self, layout: PoolLayout, page_size: int) -> PageArray:
        """The page on the device. `layout`: what the attention kernels of the backend want."""
        ...

    def policy(self, page_size: int) -> PagePolicy:
        """The host's policy for pages of so many tokens."""
        ...


@runtime_checkable
class PagePolicy(Protocol):
    """Which pages of a group a request needs, and when. Pages and hits are counted from the request's first token."""

    @property
    def page_size(self) -> int: ...

    def first_page(self, position: int) -> int:
        """Table index of the first page that a token at `position`, or any later one, needs."""
        ...

    def first_kept(self, positions: IntArray) -> IntArray | None:
        """For rows whose next tokens are at `positions`: the first page that each keeps, which is at most its
        first_page(); pages before it are let go. None: no page ever is."""
        ...

    def most_pages(self, tokens: int, chunk: int) -> int:
        """Pages a request of `tokens` tokens holds at most, when at most `chunk` tokens are computed in a step."""
        ...

    def fresh_pages(self, needed: int, tokens: int, hit: int, chunk: int) -> int:
        """New pages to count on before a request starts that has `tokens` tokens to compute, the first `hit` pages
        being cached. needed: what most_pages() said for the whole request. chunk: as there."""
        ...

    def pages_to_come(self, tokens: IntArray, end_page: IntArray) -> int:
        """Pages that running requests will still need until `tokens` [n] tokens of each are computed, beyond the
        `end_page` [n] that each has; pages that they will let go meanwhile are not counted."""
        ...

    def usable_hit(self, found: IntArray, length: int) -> int:
        """The longest hit of at most `length` pages after which the next token finds all it needs. found[i]: the
        cached page i, 0 where there is none."""
        ...

    def shared_pages(self, pages: int) -> int:
        """How many of the first `pages` pages, which requests with a common beginning share, each needs to its end."""
        ...

    def resume_point(self, tokens: int, planned: int) -> int:
        """The most of a row's first `tokens` tokens, all computed, that a copy of it can go on from on the same pages
        when the plans in flight compute `planned` tokens of it."""
        ...


def pages_for(tokens: int, page_size: int) -> int:
    """Pages that `tokens` tokens fill, the last one perhaps partly."""
    return -(-tokens // page_size)
