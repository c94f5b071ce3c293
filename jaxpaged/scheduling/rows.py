"""Running requests as numpy columns: one row per request, fixed while it runs; row 0 is the null row.

    computed <= planned_computed   tokens whose keys and values are in pages (and those that plans in flight compute)
    num_tokens <= planned_tokens   tokens known to the host (and those that plans in flight sample)

A row has work while planned_computed < planned_tokens < limit. `epoch` changes whenever what a plan in flight assumed
about the row ceases to hold (its request left, or an outcome was not the expected one): results are matched by it.

Every step works on whole columns, free rows included (they are all zeros): an operation on 4,096 neighbours costs a
microsecond, picking 4,096 rows out first costs seven.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jaxpaged.scheduling.arrays import BoolArray, IntArray, RowArray, ragged_range
from jaxpaged.scheduling.digest_table import DIGEST_BYTES, Digests, as_digests
from jaxpaged.scheduling.request import Request

# Order of Request.row_words, the columns that are fixed at admission. STOP is the first of the tokens that end a row.
PROMPT_LEN, LIMIT, STOP_FROM, VARIANT, SCORES_PROMPT, HAS_CONTENT, WAITS, STOP, NUM_WORDS = range(9)
NO_TOKEN = np.iinfo(np.int32).max
NUM_COUNTERS = 6


class Rows:
    """Owner of the row ids 1..max_num_seqs and of all that changes from step to step about running requests.

    ids: the request of each row.
    waits: 1 where no token is planned before the last one is known and resume() called, as for beams and grammars.
    limit: the most tokens (prompt and output) a request may have. stop_from: the first num_tokens at which it may stop.
    stop, more_stops [K, row]: tokens that end it, NO_TOKEN where there are fewer. first_page, end_page [g][row]: the
    live part of the page table [g][row, P]; outside it the table holds the null page.
    digests [row, 1 + page]: the parent digest of the first page, then the digests of the first `hashed` pages;
    `published` of these are in the prefix cache. Tables are one entry wider than needed, as wide as the digests.
    """

    def __init__(self, max_num_seqs: int, max_model_len: int, page_size: int, num_groups: int) -> None:
        size, width = max_num_seqs + 1, -(-max_model_len // page_size) + 1
        self._columns = np.zeros((NUM_WORDS + NUM_COUNTERS + 2 * num_groups, size), np.int32)
        self._words = self._columns[:NUM_WORDS]
        self.prompt_len, self.limit, self.stop_from, self.variant = self._words[: VARIANT + 1]
        self.scores_prompt, self.has_content, self.waits, self.stop = self._words[SCORES_PROMPT:]
        counters, table_ends = self._columns[NUM_WORDS : NUM_WORDS + NUM_COUNTERS], self._columns[-2 * num_groups :]
        self.num_tokens, self.computed, self.planned_tokens, self.planned_computed = counters[:4]
        self.hashed, self.published = counters[4:]
        self.first_page, self.end_page = tuple(table_ends[:num_groups]), tuple(table_ends[num_groups:])
        self.epoch = np.zeros(size, np.int32)
        self.active = np.zeros(size, np.bool_)
        self._rank = np.zeros((3, size), np.float64)
        self.more_stops = np.zeros((0, size), np.int32)
        self.history = np.zeros((size, max_model_len), np.int32)
        self.tables = tuple(np.zeros((size, width), np.int32) for _ in range(num_groups))
        self.digests: Digests = np.zeros((size, width, DIGEST_BYTES // 8), np.uint64)
        self._history_bytes, self._digest_bytes = (
            memoryview(array).cast("B") for array in (self.history, self.digests)
        )
        self._page_bytes = 4 * page_size
        self.requests: NDArray[np.object_] = np.full(size, None, dtype=object)
        self.ids = np.zeros(size, np.int64)
        self.free = list(range(max_num_seqs, 0, -1))

    def __len__(self) -> int:
        """How many rows are in use."""
        return len(self.active) - 1 - len(self.free)

    def request(self, row: int) -> Request:
        """The request that lives in an active row."""
        request: Request = self.requests[row]
        return request

    def history_index(self, rows: RowArray, positions: IntArray) -> RowArray:
        """Where in the flat history the tokens stand; one index is five times faster than a pair."""
        return rows * self.history.shape[1] + positions

    def table_index(self, rows: RowArray, first: IntArray, counts: IntArray) -> RowArray:
        """Where in a flat page table entries first, first+1, ... of each row stand: [sum(counts)].

        Their digests stand one place further in the flat digests.
        """
        return ragged_range(rows * self.digests.shape[1] + first, counts)

    def occupy(self, requests: list[Request], cached: IntArray, shard: int, now: float) -> RowArray:
        """Give each request a free row, `cached` [n] of its tokens being computed already. Returns the rows [n]."""
        count = len(requests)
        taken = self.free[: -count - 1 : -1]
        del self.free[-count:]
        rows = np.array(taken, np.intp)
        event, history, width = ("scheduled", now), self.history.reshape(-1), self.history.shape[1]
        lengths = [len(request.tokens) for request in requests]
        for row, request, length in zip(taken, requests, lengths, strict=True):
            history[row * width : row * width + length] = request.tokens
            request.row = row
            request.shard = shard
            request.events.append(event)
            if request.more_stop_ids:
                self._set_more_stops(row, request.more_stop_ids)
        self.requests[rows] = requests
        self.ids[rows] = [request.request_id for request in requests]
        self._rank[:, rows] = np.array([request.rank for request in requests], np.float64).T
        self.active[rows] = True
        self._words[:, rows] = np.concatenate([request.row_words for request in requests]).reshape(count, NUM_WORDS).T
        self.num_tokens[rows] = self.planned_tokens[rows] = lengths
        self.computed[rows] = self.planned_computed[rows] = cached
        if requests[0].page_digests:
            self._set_digests(rows, requests)
        return rows

    def pause(self, sampled: BoolArray) -> None:
        """Of the rows that have just been planned to sample, let those that wait have nothing more to do."""
        np.copyto(self.planned_tokens, self.limit, where=sampled & (self.waits != 0))

    def resume(self, row: int) -> None:
        """Let a waiting row go on from its known tokens."""
        self.planned_tokens[row] = self.num_tokens[row]

    def only_wait(self) -> bool:
        """Whether no running row goes on without results, and some row's token is on its way."""
        waits = self.waits != 0
        return bool((waits & (self.planned_tokens >= self.limit)).any()) and int(np.count_nonzero(waits)) == len(self)

    def vacate(self, rows: RowArray) -> None:
        """Free the rows; their pages have been released before."""
        self._columns[:, rows] = 0
        if len(self.more_stops):
            self.more_stops[:, rows] = NO_TOKEN
        self.active[rows] = False
        self.epoch[rows] += 1
        self.requests[rows] = None
        self.ids[rows] = 0
        self.free += rows.tolist()[::-1]

    def last_in_rank(self) -> int:
        """The row that is preempted first; one must be active."""
        rows = self.active.nonzero()[0]
        for column in self._rank:
            values = column[rows]
            rows = rows[values == values.max()]
        return int(rows[0])

    def tokens(self, row: int) -> IntArray:
        """A copy of a row's known tokens."""
        known: IntArray = self.history[row, : self.num_tokens[row]].copy()
        return known

    def page_digests(self, row: int) -> bytes:
        """The parent of a row's first page and the digests of its hashed pages; empty where there are none."""
        return self.digests[row, : 1 + self.hashed[row]].tobytes() if self.hashed[row] else b""

    def hash_input(self, row: int, page: int) -> tuple[memoryview, memoryview]:
        """The digest of the page before this one, and the tokens of this one."""
        at, begin = self._digest_at(row, page), 4 * row * self.history.shape[1] + page * self._page_bytes
        return self._digest_bytes[at : at + DIGEST_BYTES], self._history_bytes[begin : begin + self._page_bytes]

    def set_digest(self, row: int, page: int, digest: bytes) -> None:
        at = self._digest_at(row, page + 1)
        self._digest_bytes[at : at + DIGEST_BYTES] = digest

    def _digest_at(self, row: int, page: int) -> int:
        at: int = (row * self.digests.shape[1] + page) * DIGEST_BYTES
        return at

    def _set_digests(self, rows: RowArray, requests: list[Request]) -> None:
        digests = [request.page_digests for request in requests]
        counts = np.array(list(map(len, digests)), np.int32) // DIGEST_BYTES
        flat = self.digests.reshape(-1, DIGEST_BYTES // 8)
        flat[ragged_range(rows * self.digests.shape[1], counts)] = as_digests(b"".join(digests))
        self.hashed[rows] = counts - 1

    def _set_more_stops(self, row: int, ids: list[int]) -> None:
        missing = len(ids) - len(self.more_stops)
        if missing > 0:
            self.more_stops = np.pad(self.more_stops, ((0, missing), (0, 0)), constant_values=NO_TOKEN)
        self.more_stops[: len(ids), row] = ids
