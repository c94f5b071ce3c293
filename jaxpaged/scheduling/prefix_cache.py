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
from jaxpaged.scheduling.arrays import NO_INTS, IntArray
from jaxpaged.scheduling.cache_groups import PageGeometry
from jaxpaged.scheduling.digest_table import DIGEST_BYTES, as_digests
from jaxpaged.scheduling.pages import PageAllocator


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
        """Append to request.page_digests until `pages` are there; `tokens` are the request's, from position 0."""
        size, digests = self.page_size, request.page_digests
        first = len(digests) // DIGEST_BYTES
        parent = bytes(digests[-DIGEST_BYTES:]) if first else request.prefix_key
        data = tokens[first * size : pages * size].tobytes()
        width = 4 * size
        for page in range(first, pages):
            hasher = self._page_hash.copy()
            begin = (page - first) * width
            hasher.update(parent + data[begin : begin + width])
            if request.content_hashes:
                hasher.update(self._content(request, page))
            parent = hasher.digest()
            digests += parent

    def prepare(self, request: Request) -> None:
        """Bring the digests up to the known tokens, and lay out those that admission will look up.

        At least one token is left to compute, and a prompt whose log probabilities are wanted skips nothing.
        """
        tokens, size = request.tokens, self.page_size
        request.prefix_key = request.prefix_key or self.key(request)
        self.extend(request, tokens, len(tokens) // size)
        usable = 0 if request.prompt_heads else (len(tokens) - 1) // size
        request.lookup = bytes(request.page_digests[: usable * DIGEST_BYTES])

    def rehash(self, request: Request) -> None:
        """Forget digests made for other weights and make those of the known tokens again."""
        request.page_digests.clear()
        request.prefix_key = b""
        self.prepare(request)

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
    pages: tuple[IntArray, ...]


class PrefixCache:
    """Finds hits over all cache groups of one data shard."""

    def __init__(self, allocators: Sequence[PageAllocator], geometry: Sequence[PageGeometry]) -> None:
        self._allocators = tuple(allocators)
        self._geometry = tuple(geometry)
        self._page_size = geometry[0].page_size
        self._any_full = any(geometry.window is None for geometry in geometry)
        self.miss = PrefixHit(0, (0,) * len(allocators), (NO_INTS,) * len(allocators))

    def match(self, requests: Sequence[Request]) -> list[PrefixHit]:
        """What each request can skip."""
        lookups = [request.lookup for request in requests]
        digests = as_digests(b"".join(lookups))
        found = [allocator.find(digests) for allocator in self._allocators]
        hits = [self.miss] * len(requests)
        if any(pages.any() for pages in found):
            end = 0
            for index, lookup in enumerate(lookups):
                begin, end = end, end + len(lookup) // DIGEST_BYTES
                # With full attention, nothing is usable without the first page.
                if begin < end and (found[0][begin] or not self._any_full):
                    hits[index] = self._hit([line[begin:end] for line in found])
        return hits

    def _hit(self, found: list[IntArray]) -> PrefixHit:
        """The longest prefix of which full groups have all pages, and windows those that the next token sees."""
        length = len(found[0])
        for pages, geometry in zip(found, self._geometry, strict=True):
            if geometry.window is None:
                gaps = (pages[:length] == 0).nonzero()[0]
                length = int(gaps[0]) if len(gaps) else length
        length = self._usable(found, length)
        first = tuple(geometry.first_page(length * self._page_size) for geometry in self._geometry)
        return PrefixHit(length, first, tuple(pages[a:length] for pages, a in zip(found, first, strict=True)))

    def _usable(self, found: list[IntArray], length: int) -> int:
        """The longest hit whose visible pages are there in every group. Lengths only shrink, so this ends."""
        while True:
            shorter = length
            for pages, geometry in zip(found, self._geometry, strict=True):
                if geometry.window is not None:
                    shorter = _longest_visible(pages, geometry, shorter)
            if shorter == length:
                return length
            length = shorter


def _longest_visible(pages: IntArray, geometry: PageGeometry, length: int) -> int:
    """The largest hit <= length for which every page that the next query sees is found (not 0)."""
    page = length - 1
    while length and page >= geometry.first_page(length * geometry.page_size):
        if pages[page]:
            page -= 1
        else:
            length, page = page, page - 1
    return length
