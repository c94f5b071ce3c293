"""Which prefixes of which requests may share pages.

A page's digest is blake2b over its parent's digest, its tokens and the content that starts in it, keyed with a random
root: it names the whole prefix, and nobody outside the process can compute or guess it. The first parent covers every
other dimension that changes keys and values (salt, adapter and its version, weights), each with its own tag and length,
so equal values in two dimensions differ, and an absent one differs from an empty one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Buffer, Sequence
from dataclasses import dataclass
from itertools import compress

from jaxpaged.kv.kind import PagePolicy
from jaxpaged.scheduling.arrays import NO_INTS, IntArray
from jaxpaged.scheduling.digest_table import DIGEST_BYTES, as_digests
from jaxpaged.scheduling.pages import PageAllocator
from jaxpaged.scheduling.request import Request


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

    def page(self, data: Buffer, content: bytes = b"") -> bytes:
        """The digest of one page, from its parent's digest followed by its tokens as int32."""
        hasher = self._page_hash.copy()
        hasher.update(data)
        if content:
            hasher.update(content)
        return hasher.digest()

    def content(self, request: Request, page: int) -> bytes:
        """What starts in a page beside its tokens."""
        first, last = page * self.page_size, (page + 1) * self.page_size
        return b"".join(
            b"content %d %d\n%s" % (position, len(digest), digest)
            for position, digest in request.content_hashes
            if first <= position < last
        )

    def prepare(self, request: Request) -> None:
        """Bring the request's digests up to its known tokens, and say how many a prefix hit may use.

        At least one token is left to compute, and a prompt whose log probabilities are wanted skips nothing.
        """
        size, tokens = self.page_size, request.tokens
        digests = [request.page_digests or self.key(request)]
        parent = digests[0][-DIGEST_BYTES:]
        data, width = tokens.tobytes(), 4 * size
        for page in range(len(digests[0]) // DIGEST_BYTES - 1, len(tokens) // size):
            content = self.content(request, page) if request.content_hashes else b""
            parent = self.page(parent + data[page * width : (page + 1) * width], content)
            digests.append(parent)
        request.page_digests = b"".join(digests)
        reads = not request.scores_prompt and not request.params.skip_reading_prefix_cache
        request.usable_pages = (len(tokens) - 1) // size if reads else 0


@dataclass(frozen=True, slots=True)
class PrefixHit:
    """The first `num_pages` pages of a prompt are cached. `pages[g]` are entries first_pages[g]..num_pages-1 of the
    page table of group g; those before are not needed any more."""

    num_pages: int
    first_pages: tuple[int, ...]
    pages: tuple[IntArray, ...]


class PrefixCache:
    """Finds hits over all cache groups of one data shard."""

    def __init__(self, allocators: Sequence[PageAllocator], policies: Sequence[PagePolicy]) -> None:
        self._allocators = tuple(allocators)
        self._policies = tuple(policies)
        self._page_size = policies[0].page_size
        # Where no page is ever let go, a hit begins with the first page, so most requests need no other look-up.
        keeps_all = [policy.first_kept(NO_INTS) is None for policy in policies]
        self._first = next(compress(allocators, keeps_all), None)
        self.miss = PrefixHit(0, (0,) * len(allocators), (NO_INTS,) * len(allocators))

    def match(self, requests: Sequence[Request]) -> list[PrefixHit]:
        """What each request can skip."""
        hits = [self.miss] * len(requests)
        asking = [index for index, request in enumerate(requests) if request.usable_pages]
        if self._first is not None and asking:
            firsts = [requests[index].page_digests[DIGEST_BYTES : 2 * DIGEST_BYTES] for index in asking]
            asking = list(compress(asking, self._first.find(as_digests(firsts)).tolist()))
        if asking:
            lines = [requests[index].page_digests[DIGEST_BYTES:] for index in asking]
            counts = [requests[index].usable_pages for index in asking]
            digests, end = as_digests([line[: DIGEST_BYTES * n] for line, n in zip(lines, counts, strict=True)]), 0
            pages = [allocator.find(digests) for allocator in self._allocators]
            for index, count in zip(asking, counts, strict=True):
                begin, end = end, end + count
                hits[index] = self._hit([found[begin:end] for found in pages])
        return hits

    def _hit(self, found: list[IntArray]) -> PrefixHit:
        """The longest prefix after which the next token finds, in every group, all that it needs."""
        length = self._usable(found, len(found[0]))
        if not length:
            return self.miss
        first = tuple(policy.first_page(length * self._page_size) for policy in self._policies)
        return PrefixHit(length, first, tuple(pages[a:length] for pages, a in zip(found, first, strict=True)))

    def _usable(self, found: list[IntArray], length: int) -> int:
        """What one group cannot use is of no use to the others either. Lengths only shrink, so this ends."""
        while True:
            longest = length
            for pages, policy in zip(found, self._policies, strict=True):
                length = policy.usable_hit(pages, length)
            if length == longest:
                return length
