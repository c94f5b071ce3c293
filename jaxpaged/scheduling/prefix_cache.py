"""Which prefixes of which requests may share pages.

A page's digest is blake2b over its parent's digest, its tokens and the content that starts in it, keyed with a random
root: it names the whole prefix, and nobody outside the process can compute or guess it. The first parent covers every
other dimension that changes keys and values (salt, adapter and its version, weights), each with its own tag and length,
so equal values in two dimensions differ, and an absent one differs from an empty one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from jaxpaged.request import Request
from jaxpaged.scheduling.arrays import IntArray
from jaxpaged.scheduling.cache_groups import PageGeometry
from jaxpaged.scheduling.pages import PageAllocator

DIGEST_BYTES = 32


class PrefixHasher:
    """Digests of full pages. One per process: `root` and the weights' version go into every digest."""

    def __init__(self, page_size: int, root: bytes | None = None) -> None:
        self.page_size = page_size
        self.weights_version = 0
        self._root = root or secrets.token_bytes(DIGEST_BYTES)
        self._page_hash = hashlib.blake2b(key=self._root, digest_size=DIGEST_BYTES, person=b"jaxpaged.page")

    def key(self, request: Request) -> bytes:
        """The parent of the request's first page."""
        dimensions = [(b"weights", str(self.weights_version).encode())]
        if request.cache_salt is not None:
            dimensions.append((b"salt", request.cache_salt.encode(errors="surrogatepass")))
        if request.adapter is not None:
            dimensions.append((b"adapter", request.adapter.encode(errors="surrogatepass")))
            dimensions.append((b"adapter_version", str(request.adapter_version).encode()))
        digest = hashlib.blake2b(key=self._root, digest_size=DIGEST_BYTES, person=b"jaxpaged.key")
        for tag, value in dimensions:
            digest.update(b"%s %d\n%s" % (tag, len(value), value))
        return digest.digest()

    def extend(self, request: Request, tokens: IntArray, pages: int) -> None:
        """Append to request.page_digests until `pages` are known; `tokens` are the request's, from position 0."""
        size, digests = self.page_size, request.page_digests
        first = len(digests)
        parent = digests[-1] if digests else request.prefix_key
        data = tokens[first * size : pages * size].tobytes()
        width = 4 * size
        for page in range(first, pages):
            hasher = self._page_hash.copy()
            hasher.update(parent)
            hasher.update(data[(page - first) * width : (page - first + 1) * width])
            if request.content_hashes:
                hasher.update(self._content(request, page))
            parent = hasher.digest()
            digests.append(parent)

    def rehash(self, request: Request) -> None:
        """Forget digests made for other weights and make those of the known tokens again."""
        request.page_digests.clear()
        request.prefix_key = self.key(request)
        self.extend(request, request.tokens, len(request.tokens) // self.page_size)

    def _content(self, request: Request, page: int) -> bytes:
        first, last = page * self.page_size, (page + 1) * self.page_size
        return b"".join(
            b"content %d %d\n%s" % (position, len(digest), digest)
            for position, digest in request.content_hashes
            if first <= position < last
        )


@dataclass(frozen=True, slots=True)
class PrefixHit:
    """The first `num_pages` pages of a prompt are cached. `pages[g]` are entries first_pages[g]..num_pages-1 of the
    page table of group g; those before are behind its window and not needed."""

    num_pages: int
    first_pages: tuple[int, ...]
    pages: tuple[list[int], ...]


class PrefixCache:
    """Finds hits over all cache groups of one data shard."""

    def __init__(self, allocators: Sequence[PageAllocator], geometry: Sequence[PageGeometry]) -> None:
        self._groups = tuple(zip(allocators, geometry, strict=True))
        self.miss = PrefixHit(0, (0,) * len(self._groups), tuple([] for _ in self._groups))

    def match(self, digests: Sequence[bytes], most: int) -> PrefixHit:
        """The longest usable hit of at most `most` pages: full groups have all of it, windows what they still see."""
        length = most
        for allocator, geometry in self._groups:
            if geometry.window is None:
                length = allocator.prefix_length(digests[:length])
        if not length:
            return self.miss
        found = [allocator.find(digests[:length]) for allocator, _ in self._groups]
        length = self._usable(found, length)
        first = tuple(geometry.first_page(length * geometry.page_size) for _, geometry in self._groups)
        return PrefixHit(length, first, tuple(pages[a:length] for pages, a in zip(found, first, strict=True)))

    def _usable(self, found: list[list[int]], length: int) -> int:
        """The longest hit whose visible pages are there in every group. Lengths only shrink, so this ends."""
        while True:
            shorter = length
            for pages, (_, geometry) in zip(found, self._groups, strict=True):
                shorter = _longest_visible(pages, geometry, shorter)
            if shorter == length:
                return length
            length = shorter


def _longest_visible(pages: list[int], geometry: PageGeometry, length: int) -> int:
    """The largest hit <= length for which every page that the next query sees is found (not 0)."""
    page = length - 1
    while length and page >= geometry.first_page(length * geometry.page_size):
        if pages[page]:
            page -= 1
        else:
            length, page = page, page - 1
    return length
