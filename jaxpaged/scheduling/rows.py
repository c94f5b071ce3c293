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

from jaxpaged.request import Request, RequestStatus
from jaxpaged.scheduling.arrays import IntArray, RowArray, ragged_range

# Order of Request.row_words, the columns that are fixed at admission.
PROMPT_LEN, LIMIT, STOP_FROM, VARIANT, PROMPT_HEADS, NUM_WORDS = range(6)
NO_TOKEN = np.iinfo(np.int32).max


class Rows:
    """Owner of the row ids 1..max_num_seqs and of all that changes from step to step about running requests.

    limit: the most tokens (prompt and output) a request may have. stop_from: the first num_tokens at which it may stop.
    published: leading pages that the prefix cache was offered. first_page, end_page [g][row]: the live part of the page
    table [g][row, P]; outside it the table holds the null page. stops [K, row]: tokens that end it, then NO_TOKEN.
    """

    def __init__(self, max_num_seqs: int, max_model_len: int, page_size: int, num_groups: int) -> None:
        size, pages = max_num_seqs + 1, -(-max_model_len // page_size)
        self._columns = np.zeros((NUM_WORDS + 5 + 2 * num_groups, size), np.int32)
        self._words = self._columns[:NUM_WORDS]
        self.prompt_len, self.limit = self._words[PROMPT_LEN], self._words[LIMIT]
        self.stop_from, self.variant = self._words[STOP_FROM], self._words[VARIANT]
        self.prompt_heads = self._words[PROMPT_HEADS]
        more = self._columns[NUM_WORDS:]
        self.num_tokens, self.computed, self.planned_tokens, self.planned_computed, self.published = more[:5]
        self.first_page, self.end_page = tuple(more[5 : 5 + num_groups]), tuple(more[5 + num_groups :])
        self.epoch = np.zeros(size, np.int32)
        self.active = np.zeros(size, np.bool_)
        self.stops = np.full((1, size), NO_TOKEN, np.int32)
        self.history = np.zeros((size, max_model_len), np.int32)
        self.tables = tuple(np.zeros((size, pages), np.int32) for _ in range(num_groups))
        self.requests: NDArray[np.object_] = np.full(size, None, dtype=object)
        self.ids: NDArray[np.object_] = np.full(size, None, dtype=object)
        self.free = list(range(max_num_seqs, 0, -1))

    def __len__(self) -> int:
        """How many rows are in use."""
        return len(self.active) - 1 - len(self.free)

    def request(self, row: int) -> Request:
        """The request that lives in an active row."""
        request: Request = self.requests[row]
        return request

    def occupy(self, requests: list[Request], cached: IntArray, shard: int, now: float) -> RowArray:
        """Give each request a free row, `cached` [n] of its tokens being computed already. Returns the rows [n]."""
        count = len(requests)
        taken = self.free[: -count - 1 : -1]
        del self.free[-count:]
        rows = np.array(taken, np.intp)
        running, event, history = RequestStatus.RUNNING, ("scheduled", now), self.history.reshape(-1)
        width = self.history.shape[1]
        lengths = []
        for row, request in zip(taken, requests, strict=True):
            tokens = request.tokens
            length = len(tokens)
            lengths.append(length)
            history[row * width : row * width + length] = tokens
            request.row = row
            request.shard = shard
            request.status = running
            request.events.append(event)
        self._set_stops(rows, [request.stop_ids for request in requests])
        self.requests[rows] = requests
        self.ids[rows] = [request.request_id for request in requests]
        self.active[rows] = True
        self._words[:, rows] = np.concatenate([request.row_words for request in requests]).reshape(count, NUM_WORDS).T
        self.num_tokens[rows] = self.planned_tokens[rows] = lengths
        self.computed[rows] = self.planned_computed[rows] = cached
        return rows

    def vacate(self, rows: RowArray) -> None:
        """Free the rows; their pages have been released before."""
        self._columns[:, rows] = 0
        self.stops[:, rows] = NO_TOKEN
        self.active[rows] = False
        self.epoch[rows] += 1
        self.requests[rows] = self.ids[rows] = None
        self.free.extend(rows.tolist()[::-1])

    def _set_stops(self, rows: RowArray, stops: list[IntArray]) -> None:
        counts = np.array([len(ids) for ids in stops], np.int32)
        missing = int(counts.max()) - len(self.stops)
        if missing > 0:
            self.stops = np.pad(self.stops, ((0, missing), (0, 0)), constant_values=NO_TOKEN)
        if counts.any():
            self.stops[ragged_range(np.zeros_like(counts), counts), rows.repeat(counts)] = np.concatenate(stops)
