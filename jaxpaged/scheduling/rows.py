"""Running requests as numpy columns: one row per request, fixed while it runs; row 0 is the null row.

    computed <= planned_computed   tokens whose keys and values are in pages (and those that plans in flight compute)
    num_tokens <= planned_tokens   tokens known to the host (and those that plans in flight sample)

A row has work while planned_computed < planned_tokens < limit. `epoch` changes whenever what a plan in flight assumed
about the row ceases to hold (its request left, or an outcome was not the expected one): results are matched by it.

Where a step chooses rows it works on whole columns, free rows included (they are all zeros): an operation on 4,096
neighbours costs a microsecond or two, picking 4,096 rows out first costs five.
"""

from __future__ import annotations

import numpy as np

from jaxpaged.scheduling.arrays import BoolArray, IntArray, RowArray, ragged_range
from jaxpaged.scheduling.digest_table import DIGEST_BYTES, Digests
from jaxpaged.scheduling.request import Request

# Order of Request.row_words: the columns as they are at admission. The first three say what a step must provide for
# some row; STOP is the first of the tokens that end a row. The columns after NUM_WORDS begin with zeros.
SCORES_PROMPT, WAITS, VARIANT, PROMPT_LEN, LIMIT, STOP_FROM, STOP, HAS_CONTENT, HASHED = range(9)
NUM_TOKENS, PLANNED_TOKENS, NUM_WORDS = range(9, 12)
NO_TOKEN = np.iinfo(np.int32).max
NUM_COUNTERS = 3


class Rows:
    """Owner of the row ids 1..max_num_seqs and of all that changes from step to step about running requests.

    ids: the request of each row; stale in a free one.
    waits: 1 where no token is planned before the last one is known and resume() called, as for beams and grammars.
    limit: the most tokens (prompt and output) a request may have; 0 in a free row. stop_from: the first num_tokens at
    which it may stop. stop, more_stops [K, row]: tokens that end it, NO_TOKEN where there are fewer.
    first_page, end_page [g][row]: the live part of the page table [g][row, P]; outside it the table holds the null
    page. digests [row, 1 + page]: the parent digest of the first page, then the digests of the first `hashed` pages;
    `published` of these are in the prefix cache. Tables are one entry wider than needed, as wide as the digests.
    """

    def __init__(self, max_num_seqs: int, max_model_len: int, page_size: int, num_groups: int) -> None:
        size, width = max_num_seqs + 1, -(-max_model_len // page_size) + 1
        length = (width - 1) * page_size
        self._columns = np.zeros((NUM_WORDS + NUM_COUNTERS + 2 * num_groups, size), np.int32)
        self._needs = self._columns[: VARIANT + 1]
        self.scores_prompt, self.waits, self.variant = self._needs
        self.prompt_len, self.limit, self.stop_from, self.stop = self._columns[PROMPT_LEN : STOP + 1]
        self.has_content, self.hashed = self._columns[HAS_CONTENT : HASHED + 1]
        self.num_tokens, self.planned_tokens, self.planned_computed = self._columns[NUM_TOKENS : NUM_WORDS + 1]
        self._planned = self._columns[PLANNED_TOKENS : NUM_WORDS + 1]
        self.computed, self.published = self._columns[NUM_WORDS + 1 : NUM_WORDS + NUM_COUNTERS]
        table_ends = self._columns[-2 * num_groups :]
        self.first_page, self.end_page = tuple(table_ends[:num_groups]), tuple(table_ends[num_groups:])
        self.epoch = np.zeros(size, np.int32)
        self.ids = np.zeros(size, np.int64)
        self.more_stops = np.zeros((0, size), np.int32)
        self.history = np.zeros((size, length), np.int32)
        self.flat_history, self._history_pages = self.history.reshape(-1), self.history.reshape(-1, page_size)
        self.digests: Digests = np.zeros((size, width, DIGEST_BYTES // 8), np.uint64)
        self.flat_digests = self.digests.reshape(-1, DIGEST_BYTES // 8)
        self._digest_bytes = memoryview(self.digests).cast("B")
        self._digest_words = self.flat_digests.view(np.int32)
        self.table_width = width
        self.tables = tuple(np.zeros((size, width), np.int32) for _ in range(num_groups))
        self.flat_tables = tuple(table.reshape(-1) for table in self.tables)
        self.requests: list[Request | None] = [None] * size
        self.free = list(range(max_num_seqs, 0, -1))

    def __len__(self) -> int:
        """How many rows are in use."""
        return len(self.requests) - 1 - len(self.free)

    @property
    def active(self) -> BoolArray:
        """Which rows are in use, bool [R]."""
        active: BoolArray = self.limit > 0
        return active

    def request(self, row: int) -> Request:
        """The request that lives in an active row."""
        request = self.requests[row]
        assert request is not None
        return request

    def requests_in(self, rows: RowArray) -> list[Request]:
        """The requests that live in active rows."""
        requests = self.requests
        return [request for row in rows.tolist() if (request := requests[row]) is not None]

    def needs(self) -> tuple[bool, bool, int]:
        """Whether any row has a prompt to score, whether any waits, and the largest sampler variant of all rows."""
        scores, waits, variant = np.maximum.reduce(self._needs, axis=1).tolist()
        return bool(scores), bool(waits), variant

    def history_index(self, rows: RowArray, positions: IntArray) -> RowArray:
        """Where in the flat history the tokens stand; one index is five times faster than a pair."""
        return rows * self.history.shape[1] + positions

    def table_index(self, rows: RowArray, first: IntArray, counts: IntArray) -> RowArray:
        """Where in a flat page table entries first, first+1, ... of each row stand: [sum(counts)].

        Their digests stand one place further in the flat digests.
        """
        return ragged_range(rows * self.table_width + first, counts)

    def occupy(self, requests: list[Request], shard: int, now: float) -> RowArray:
        """Give each request a free row, none of its tokens being computed yet. Returns the rows [n]."""
        count = len(requests)
        taken = self.free[: -count - 1 : -1]
        del self.free[-count:]
        event, history, width = ("scheduled", now), self.flat_history, self.history.shape[1]
        for row, request in zip(taken, requests, strict=True):
            tokens = request.tokens
            history[row * width : row * width + len(tokens)] = tokens
            digests, at = request.page_digests, row * self.table_width * DIGEST_BYTES
            self._digest_bytes[at : at + len(digests)] = digests
            self.requests[row], request.row, request.shard = request, row, shard
            request.events.append(event)
            if request.more_stop_ids:
                self._set_more_stops(row, request.more_stop_ids)
        rows = np.array(taken, np.intp)
        words = np.concatenate([request.row_words for request in requests])
        self._columns[:NUM_WORDS, rows] = words.reshape(count, NUM_WORDS).T
        self.ids[rows] = [request.request_id for request in requests]
        return rows

    def plan(self, decoding: BoolArray) -> None:
        """The rows in `decoding`, bool [R], compute one more token in the step being planned, and sample the next."""
        self._planned += decoding

    def pause(self, rows: RowArray) -> None:
        """Of rows that have just been planned to sample, let those that wait have nothing more to do."""
        waiting = rows[self.waits[rows] != 0]
        self.planned_tokens[waiting] = self.limit[waiting]

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
        self.epoch[rows] += 1
        if len(self.more_stops):
            self.more_stops[:, rows] = NO_TOKEN
        freed = rows.tolist()
        for row in freed:
            self.requests[row] = None
        self.free += freed[::-1]

    def last_in_rank(self) -> int:
        """The row that is preempted first; one must be active."""
        return max((request.rank, request.row) for request in self.requests if request is not None)[1]

    def tokens(self, row: int) -> IntArray:
        """A copy of a row's known tokens."""
        known: IntArray = self.history[row, : self.num_tokens[row]].copy()
        return known

    def page_digests(self, row: int) -> bytes:
        """The parent of a row's first page and the digests of its hashed pages; empty where there are none."""
        return self.digests[row, : 1 + self.hashed[row]].tobytes() if self.hashed[row] else b""

    def hash_inputs(self, rows: RowArray, pages: IntArray) -> bytes:
        """Of a page of each row: the digest of the page before it, and its tokens as int32; one after another."""
        at = rows * self.table_width + pages  # of a row there is one page of tokens less than digests
        return np.concatenate((self._digest_words[at], self._history_pages[at - rows]), axis=1).tobytes()

    def set_digests(self, rows: RowArray, pages: IntArray, digests: Digests) -> None:
        """Take down that one more page of each row is hashed."""
        self.flat_digests[rows * self.table_width + pages + 1] = digests
        self.hashed[rows] = pages + 1

    def columns_in_use(self) -> BoolArray:
        """Rows in which some column is not zero, bool [R]; for audits."""
        used: BoolArray = self._columns.any(axis=0)
        return used

    def _set_more_stops(self, row: int, ids: list[int]) -> None:
        missing = len(ids) - len(self.more_stops)
        if missing > 0:
            self.more_stops = np.pad(self.more_stops, ((0, missing), (0, 0)), constant_values=NO_TOKEN)
        self.more_stops[: len(ids), row] = ids
