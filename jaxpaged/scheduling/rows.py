"""Running requests as numpy columns: one row per request, fixed while it runs; row 0 is the null row.

    computed <= planned_computed     tokens whose keys and values are in pages (will be, once the plans in flight are done)
    num_tokens <= planned_tokens     tokens known to the host (and those that plans in flight will have sampled)

A row has work while planned_computed < planned_tokens < limit. `epoch` changes whenever what a plan in flight assumed
about the row ceases to hold (its request left, or an outcome was not the expected one): results are matched by it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jaxpaged.errors import InvariantError
from jaxpaged.request import Request, RequestStatus
from jaxpaged.scheduling.arrays import IntArray, RowArray, ragged_range

# Columns of `words`: what is fixed at admission, in one array so that one assignment sets many rows.
PROMPT_LEN, LIMIT, STOP_FROM, VARIANT, PROMPT_HEADS, NUM_WORDS = range(6)
NO_TOKEN = np.iinfo(np.int32).max


class Rows:
    """Owner of the row ids 1..max_num_seqs and of all that changes from step to step about running requests.

    limit: the most tokens (prompt and output) a request may have. stop_from: the first num_tokens at which it may stop.
    published: leading pages that the prefix cache was offered. first_page, end_page [g][row]: the live part of the page
    table [g][row, P]; outside it the table holds the null page. stops [row, K]: tokens that end it, then NO_TOKEN.
    """

    def __init__(self, max_num_seqs: int, max_model_len: int, page_size: int, num_groups: int) -> None:
        size, pages = max_num_seqs + 1, -(-max_model_len // page_size)
        columns = np.zeros((6 + 2 * num_groups, size), np.int32)
        self.epoch, self.num_tokens, self.computed = columns[0], columns[1], columns[2]
        self.planned_tokens, self.planned_computed, self.published = columns[3], columns[4], columns[5]
        self.first_page = tuple(columns[6 : 6 + num_groups])
        self.end_page = tuple(columns[6 + num_groups :])
        self.active = np.zeros(size, np.bool_)
        self.words = np.zeros((size, NUM_WORDS), np.int32)
        self.prompt_len, self.limit = self.words[:, PROMPT_LEN], self.words[:, LIMIT]
        self.stop_from, self.variant = self.words[:, STOP_FROM], self.words[:, VARIANT]
        self.prompt_heads = self.words[:, PROMPT_HEADS]
        self.stops = np.full((size, 1), NO_TOKEN, np.int32)
        self.history = np.zeros((size, max_model_len), np.int32)
        self.tables = tuple(np.zeros((size, pages), np.int32) for _ in range(num_groups))
        self.requests: list[Request | None] = [None] * size
        self.ids: NDArray[np.object_] = np.full(size, None, dtype=object)
        self.free = list(range(max_num_seqs, 0, -1))

    def request(self, row: int) -> Request:
        """The request that lives in an active row."""
        request = self.requests[row]
        if request is None:
            raise InvariantError(f"row {row} is free")
        return request

    def occupy(self, requests: list[Request], cached: IntArray, now: float) -> RowArray:
        """Give each request a free row, `cached` [n] of its tokens being computed already. Returns the rows [n]."""
        count = len(requests)
        taken = self.free[: -count - 1 : -1]
        del self.free[-count:]
        rows = np.array(taken, np.intp)
        running, event, history = RequestStatus.RUNNING, ("scheduled", now), self.history
        lengths = []
        for row, request in zip(taken, requests, strict=True):
            tokens = request.tokens
            lengths.append(len(tokens))
            history[row, : len(tokens)] = tokens
            self.requests[row] = request
            request.row = row
            request.status = running
            request.events.append(event)
        self.ids[rows] = [request.request_id for request in requests]
        self.active[rows] = True
        self.num_tokens[rows] = self.planned_tokens[rows] = lengths
        self.computed[rows] = self.planned_computed[rows] = cached
        self.words[rows] = np.concatenate([request.row_words for request in requests]).reshape(count, NUM_WORDS)
        self._set_stops(rows, [request.stop_ids for request in requests])
        return rows

    def vacate(self, rows: RowArray) -> None:
        """Free the rows; their pages have been released before."""
        self.active[rows] = False
        self.epoch[rows] += 1
        self.ids[rows] = None
        for row in rows.tolist():
            self.requests[row] = None
        self.free.extend(rows.tolist()[::-1])

    def _set_stops(self, rows: RowArray, stops: list[IntArray]) -> None:
        counts = np.array([len(ids) for ids in stops], np.int32)
        missing = int(counts.max()) - self.stops.shape[1]
        if missing > 0:
            self.stops = np.pad(self.stops, ((0, 0), (0, missing)), constant_values=NO_TOKEN)
        self.stops[rows] = NO_TOKEN
        self.stops[np.repeat(rows, counts), ragged_range(np.zeros_like(counts), counts)] = np.concatenate(stops)
