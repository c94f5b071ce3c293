"""Waiting requests move into rows: first all are chosen, one by one, then rows, pages and tables are set at once."""

from __future__ import annotations

import numpy as np

from jaxpaged.request import Request
from jaxpaged.scheduling.arrays import RowArray, ragged_range
from jaxpaged.scheduling.prefix_cache import PrefixHit
from jaxpaged.scheduling.running import StepDraft
from jaxpaged.scheduling.shard import Shard


class AdmissionBatch:
    """Requests that one shard takes in one step. offer() decides with plain integers, apply() does the work.

    A request is taken when the pages for all its known tokens are available, so that it is not preempted before its
    first token; only those of its first chunk are allocated.
    """

    def __init__(self, shard: Shard, draft: StepDraft, now: float) -> None:
        self._shard = shard
        self._draft = draft
        self._now = now
        self._requests: list[Request] = []
        self._hits: list[PrefixHit] = []
        self._counts: list[int] = []
        self._left = self._unreserved()

    @property
    def load(self) -> int:
        """Requests that run on the shard, those taken included."""
        return len(self._shard.rows) + len(self._requests)

    def match(self, request: Request) -> PrefixHit:
        """What the request can skip here: at least one token is left to compute, and prompt_logprobs skip nothing."""
        shard = self._shard
        if shard.hasher is None or request.prompt_heads:
            return shard.prefix.miss
        return shard.prefix.match(request.page_digests, (len(request.tokens) - 1) // shard.page_size)

    def offer(self, request: Request) -> bool:
        """Take the request if a row, a token, a head row and the pages are left."""
        draft, shard = self._draft, self._shard
        if len(self._requests) == len(shard.rows.free) or not draft.budget or not draft.heads:
            return False
        hit = self.match(request)
        if not self._reserve(request, hit):
            if not self._requests:
                return False
            # Counted one by one, there may seem to be fewer pages than there are. Applying may evict what was matched.
            self.apply()
            self._left = self._unreserved()
            hit = self.match(request)
            if not self._reserve(request, hit):
                return False
        behind = len(request.tokens) - hit.num_pages * shard.page_size
        request.shard = shard.index
        self._requests.append(request)
        self._hits.append(hit)
        self._counts.append(draft.take_chunk(behind, request.prompt_heads))
        return True

    def apply(self) -> None:
        """Put the requests taken so far into rows, with their cached pages and new ones for their first chunks."""
        if not self._requests:
            return
        rows, shard = self._shard.rows, self._shard
        hits = np.array([hit.num_pages for hit in self._hits], np.int32)
        cached = hits * shard.page_size
        taken = rows.occupy(self._requests, cached, self._now)
        if hits.any():
            self._share_cached(taken)
        rows.published[taken] = hits
        end = (cached + np.array(self._counts, np.int32) + (shard.page_size - 1)) // shard.page_size
        fresh = end - hits
        where = np.repeat(taken, fresh), ragged_range(hits, fresh)
        for table, end_page, allocator in zip(rows.tables, rows.end_page, shard.allocators, strict=True):
            table[where] = allocator.allocate(len(where[0]))
            end_page[taken] = end
        if shard.hasher is not None:
            shard.stats.prefix_queries += sum(len(request.tokens) for request in self._requests)
            shard.stats.prefix_hits += int(cached.sum())
        admitted = taken.tolist()
        self._draft.chunk_rows += admitted
        self._draft.chunk_counts += self._counts
        self._draft.admitted += admitted
        self._requests, self._hits, self._counts = [], [], []

    def _reserve(self, request: Request, hit: PrefixHit) -> bool:
        """Whether every group has the pages left that the request needs; if so they are no longer left."""
        left = []
        for group, need in enumerate(request.page_need):
            if hit.num_pages:
                # An idle page that the request shares is no longer available to others.
                need = max(need - hit.num_pages, 0) + self._shard.allocators[group].idle_among(hit.pages[group])
            if need > self._left[group]:
                return False
            left.append(self._left[group] - need)
        self._left = left
        return True

    def _unreserved(self) -> list[int]:
        """Available pages per group, less those that rows in the middle of their prompts will need."""
        rows, shard = self._shard.rows, self._shard
        left = [allocator.available for allocator in shard.allocators]
        behind = np.array(self._draft.catching_up + self._draft.admitted, np.intp)
        if len(behind):
            wanted = (rows.planned_tokens[behind] + (shard.page_size - 1)) // shard.page_size
            for group, geometry in enumerate(shard.geometry):
                if geometry.window is None:
                    left[group] -= int(np.maximum(wanted - rows.end_page[group][behind], 0).sum())
        return left

    def _share_cached(self, taken: RowArray) -> None:
        rows = self._shard.rows
        for group, allocator in enumerate(self._shard.allocators):
            first = np.array([hit.first_pages[group] for hit in self._hits], np.int32)
            pages = np.array([page for hit in self._hits for page in hit.pages[group]], np.int32)
            counts = np.array([len(hit.pages[group]) for hit in self._hits], np.int32)
            allocator.acquire(pages)
            rows.tables[group][np.repeat(taken, counts), ragged_range(first, counts)] = pages
            rows.first_page[group][taken] = first
        for request, hit in zip(self._requests, self._hits, strict=True):
            if not request.num_preemptions:
                request.num_cached_tokens = hit.num_pages * self._shard.page_size
