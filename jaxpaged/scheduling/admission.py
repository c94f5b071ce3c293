"""Waiting requests move into rows: first all are chosen, one by one, then rows, pages and tables are set at once."""

from __future__ import annotations

import numpy as np

from jaxpaged.request import Request
from jaxpaged.scheduling.arrays import RowArray, ragged_range
from jaxpaged.scheduling.prefix_cache import PrefixHit
from jaxpaged.scheduling.rows import PROMPT_HEADS
from jaxpaged.scheduling.running import StepDraft, take_chunk
from jaxpaged.scheduling.shard import Shard


class AdmissionBatch:
    """Requests that one shard takes in one step. offer() decides with plain integers, apply() does the work.

    A request is taken when the pages for all its known tokens are available, so that it is not preempted before its
    first token; only those of its first chunk are allocated. `reserved` are pages that admitted prompts still lack.
    """

    def __init__(self, shard: Shard, draft: StepDraft, now: float) -> None:
        self._shard = shard
        self._draft = draft
        self._now = now
        self._requests: list[Request] = []
        self._hits: list[PrefixHit] = []
        self._counts: list[int] = []
        self._any_hit = False
        self._left = self._unreserved()

    @property
    def load(self) -> int:
        """Requests that run on the shard, those taken included."""
        return self._shard.num_running + len(self._requests)

    def cached_pages(self, request: Request) -> int:
        """Pages that the request would find in this shard's prefix cache."""
        return self._match(request).num_pages

    def offer(self, request: Request) -> bool:
        """Take the request if a row, a token, a head row and the pages are left."""
        draft = self._draft
        if len(self._requests) >= len(self._shard.rows.free) or draft.budget < 1 or draft.heads < 1:
            return False
        hit = self._match(request)
        left = self._pages_left(request, hit)
        if left is None and self._requests:
            self.apply()  # from now on the counts are exact
            left = self._pages_left(request, hit)
        if left is None:
            return False
        self._left = left
        behind = len(request.tokens) - hit.num_pages * self._shard.page_size
        count = take_chunk(draft, behind, bool(request.row_words[PROMPT_HEADS]))
        self._requests.append(request)
        self._hits.append(hit)
        self._counts.append(count)
        self._any_hit = self._any_hit or hit.num_pages > 0
        return True

    def apply(self) -> None:
        """Put the requests taken so far into rows, with their cached pages and new ones for their first chunks."""
        if not self._requests:
            return
        rows = self._shard.rows
        hits = np.array([hit.num_pages for hit in self._hits], np.int32)
        counts = np.array(self._counts, np.int32)
        cached = hits * self._shard.page_size
        taken = rows.occupy(self._requests, cached, self._now)
        rows.published[taken] = hits
        if self._any_hit:
            self._share_cached(taken)
        end = (cached + counts + (self._shard.page_size - 1)) // self._shard.page_size
        fresh = end - hits
        where = np.repeat(taken, fresh), ragged_range(hits, fresh)
        for table, held_end, allocator in zip(rows.tables, rows.end_page, self._shard.allocators, strict=True):
            table[where] = allocator.allocate(len(where[0]))
            held_end[taken] = end
        self._shard.stats.prefix_queries += int(rows.num_tokens[taken].sum())
        self._shard.stats.prefix_hits += int(cached.sum())
        self._draft.add(taken, counts)
        self._draft.admitted.extend(taken.tolist())
        self._requests, self._hits, self._counts, self._any_hit = [], [], [], False
        self._left = self._unreserved()

    def _match(self, request: Request) -> PrefixHit:
        """What the request can skip: at least one token is left to compute, and prompt_logprobs skip nothing."""
        prefix = self._shard.prefix
        if self._shard.hasher is None or request.row_words[PROMPT_HEADS]:
            return prefix.miss
        return prefix.match(request.page_digests, (len(request.tokens) - 1) // self._shard.page_size)

    def _pages_left(self, request: Request, hit: PrefixHit) -> list[int] | None:
        """What would be left per group after the request, or None where it does not fit."""
        tokens, shard = len(request.tokens), self._shard
        result = []
        for group, left in enumerate(self._left):
            need = shard.geometry[group].most_pages(tokens, self._draft.budget) - hit.num_pages
            if hit.num_pages:
                need = max(need, 0) + shard.allocators[group].idle_among(hit.pages[group])
            if need > left:
                return None
            result.append(left - need)
        return result

    def _unreserved(self) -> list[int]:
        """Available pages per group, less those that rows in the middle of their prompts will need."""
        rows, shard = self._shard.rows, self._shard
        behind = np.concatenate((self._draft.catching_up, np.array(self._draft.admitted, np.intp)))
        wanted = (rows.planned_tokens[behind] + (shard.page_size - 1)) // shard.page_size
        left = []
        for allocator, geometry, end in zip(shard.allocators, shard.geometry, rows.end_page, strict=True):
            lacking = int(np.maximum(wanted - end[behind], 0).sum()) if geometry.window is None else 0
            left.append(allocator.available - lacking)
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
