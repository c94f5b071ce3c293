"""What the rows that run already do in the next step: one token each where they decode, chunks where they catch up.

No phases: a row is behind its known tokens by one or by many. Those that are behind by one come first and always fit,
so a long prompt delays them by no more than the chunk it shares a step with.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from jaxpaged.scheduling import beams
from jaxpaged.scheduling.arrays import NO_INTS, NO_ROWS, BoolArray, IntArray, RowArray, ones
from jaxpaged.scheduling.pages import PageAllocator
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.rows import Rows
from jaxpaged.scheduling.shard import Shard


@dataclass(slots=True)
class Growth:
    """New pages that the rows of a step need in one cache group: `rows[i]` need `counts[i]` pages each.

    copies: (row, table index) where a row would write to a page that it shares. num_pages: all new pages, copies too.
    num_written: the first so many new pages go into the plan's page_writes; the others belong to admitted rows,
    whose admissions carry their whole page table.
    """

    rows: list[RowArray]
    counts: list[IntArray]
    copies: list[tuple[int, int]]
    num_pages: int
    num_written: int


@dataclass(slots=True)
class StepBuilder:
    """A shard's next step while it is being decided. `budget` tokens and `logit_rows` are left.

    decoding: bool [R], the rows that compute one token. chunk_rows, chunk_counts: the others. catching_up: rows that
    were in the middle of their tokens before this step. draft_tokens: row -> how many of its tokens are drafts.
    """

    budget: int
    logit_rows: int
    decoding: BoolArray
    catching_up: list[int] = field(default_factory=list)
    chunk_rows: RowArray = field(default_factory=lambda: NO_ROWS)
    chunk_counts: IntArray = field(default_factory=lambda: NO_INTS)
    admitted: list[int] = field(default_factory=list)
    draft_tokens: dict[int, int] = field(default_factory=dict)
    growths: list[Growth] = field(default_factory=list)
    page_writes: list[IntArray] = field(default_factory=list)
    page_copies: list[list[tuple[int, int]]] = field(default_factory=list)
    preempted: list[Request] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not len(self.chunk_rows) and not np.count_nonzero(self.decoding)

    def add_chunks(self, rows: RowArray, counts: IntArray) -> None:
        if len(self.chunk_rows):
            rows, counts = np.concatenate((self.chunk_rows, rows)), np.concatenate((self.chunk_counts, counts))
        self.chunk_rows, self.chunk_counts = rows, counts

    def take_chunk(self, behind: int, scores_prompt: bool) -> int:
        """Tokens for a row that is `behind` its known tokens, within the budget and the head rows left; takes both.

        A prompt position whose log probabilities are wanted needs a head row; of other prompts only the last one does.
        """
        count = min(behind, self.budget)
        if scores_prompt:
            count = logit_rows = min(count, self.logit_rows)
        else:
            logit_rows = 1 if count == behind else 0
            if logit_rows > self.logit_rows:
                count, logit_rows = count - 1, 0
        self.budget -= count
        self.logit_rows -= logit_rows
        return count

    def take_all(self, behind: int, num_rows: int) -> bool:
        """Take the tokens of `num_rows` rows that are `behind` by so many together, if they all fit, as take_chunk()
        does for one that scores no prompt."""
        fits = behind <= self.budget and num_rows <= self.logit_rows
        if fits:
            self.budget -= behind
            self.logit_rows -= num_rows
        return fits

    def drop(self, row: int) -> None:
        """Forget a row that has been preempted."""
        self.decoding[row] = False
        self.draft_tokens.pop(row, None)
        kept = self.chunk_rows != row
        self.chunk_rows, self.chunk_counts = self.chunk_rows[kept], self.chunk_counts[kept]


def begin_step(shard: Shard, budget: int, logit_rows: int, now: float) -> StepBuilder:
    """Choose tokens for all running rows, preempting the last in rank where there are not pages enough for all."""
    rows = shard.rows
    # A row whose planned tokens reach the limit has all that it may generate in flight.
    behind = rows.planned_tokens - rows.planned_computed
    behind *= rows.planned_tokens < rows.limit
    decoding = behind == 1
    used = int(np.count_nonzero(decoding))
    builder = StepBuilder(budget - used, logit_rows - used, decoding)
    if int(np.count_nonzero(behind)) > used:
        builder.catching_up = (behind > 1).nonzero()[0].tolist()
        _catch_up(rows, builder, behind)
    if shard.draft_tokens:
        _add_draft_tokens(shard, builder)
    _release_passed_pages(shard)
    builder.growths = _preempt_until_it_fits(shard, builder, now)
    return builder


def grow(shard: Shard, builder: StepBuilder) -> None:
    """Give the rows of the step their missing pages, and pages of their own where they share the one they write to."""
    rows = shard.rows
    for group, (allocator, growth) in enumerate(zip(shard.allocators, builder.growths, strict=True)):
        end = rows.end_page[group]
        copied, changed = _copy_shared(allocator, rows.tables[group], growth.copies)
        grown, counts = np.concatenate(growth.rows), np.concatenate(growth.counts)
        first = end[grown]
        entries = rows.table_index(grown, first, counts)
        pages = allocator.allocate(len(entries))
        rows.flat_tables[group][entries] = pages
        end[grown] = first + counts
        written = growth.num_written
        builder.page_writes.append(_page_writes(entries[:written], pages[:written], rows.table_width, changed))
        builder.page_copies.append(copied)


def _page_writes(entries: RowArray, pages: IntArray, width: int, changed: list[tuple[int, int, int]]) -> IntArray:
    """(row, table index, page) of new pages, given by flat entries of the table, and of changed ones: int32 [k, 3]."""
    count = len(entries)
    writes = np.empty((count + len(changed), 3), np.int32)
    if count:
        writes[:count, 0], writes[:count, 1] = np.divmod(entries, width)
        writes[:count, 2] = pages
    if changed:
        writes[count:] = changed
    return writes


def _catch_up(rows: Rows, builder: StepBuilder, behind: IntArray) -> None:
    """Chunks for rows that are behind by several tokens, the first in rank first."""
    chosen, counts = [], []
    for row in sorted(builder.catching_up, key=lambda row: rows.request(row).rank):
        count = builder.take_chunk(int(behind[row]), bool(rows.scores_prompt[row]))
        if count:
            chosen.append(row)
            counts.append(count)
    builder.add_chunks(np.array(chosen, np.intp), np.array(counts, np.int32))


def _add_draft_tokens(shard: Shard, builder: StepBuilder) -> None:
    """Let rows that decode and have nothing in flight verify their draft tokens in the same step."""
    rows = shard.rows
    for row, tokens in shard.draft_tokens.items():
        known = int(rows.num_tokens[row])
        idle = rows.planned_tokens[row] == known and rows.planned_computed[row] == rows.computed[row]
        count = min(len(tokens), builder.budget, builder.logit_rows, int(rows.limit[row]) - known - 1)
        if not idle or not builder.decoding[row] or not count:
            continue
        rows.history[row, known : known + count] = tokens[:count]
        builder.budget -= count
        builder.logit_rows -= count
        builder.decoding[row] = False
        builder.add_chunks(np.array([row], np.intp), np.array([1 + count], np.int32))
        builder.draft_tokens[row] = count
    shard.draft_tokens.clear()  # they are about the next step only


def _release_passed_pages(shard: Shard) -> None:
    """Let go of pages that no later token needs. Plans in flight that read them run before those of a new owner."""
    rows = shard.rows
    for group, policy in enumerate(shard.policies):
        first = policy.first_kept(rows.planned_computed)
        if first is None:
            continue
        old, table = rows.first_page[group], rows.flat_tables[group]
        moved = (first > old).nonzero()[0]
        if len(moved):
            counts = first[moved] - old[moved]
            entries = rows.table_index(moved, old[moved], counts)
            shard.allocators[group].release(table[entries])
            table[entries] = 0
            old[moved] = first[moved]


def _preempt_until_it_fits(shard: Shard, builder: StepBuilder, now: float) -> list[Growth]:
    """What each group needs, after taking the last in rank off their rows until the pages suffice."""
    while True:
        growths = [_growth(shard, builder, group) for group in range(len(shard.allocators))]
        if all(growth.num_pages <= pages.available for growth, pages in zip(growths, shard.allocators, strict=True)):
            return growths
        _preempt_last(shard, builder, now)


def _preempt_last(shard: Shard, builder: StepBuilder, now: float) -> None:
    victim = shard.rows.last_in_rank()
    group = shard.rows.request(victim).beams
    if group is None:
        builder.preempted.append(shard.preempt(victim, now))
        builder.drop(victim)
        return
    for member in group.members:
        if member.finish_reason is None and member.row:
            builder.drop(member.row)
    builder.preempted.append(beams.preempt(shard, group, now))


def _growth(shard: Shard, builder: StepBuilder, group: int) -> Growth:
    rows, size = shard.rows, shard.page_size
    end = rows.end_page[group]
    grown = (builder.decoding & (rows.planned_computed >= end * size)).nonzero()[0]
    counts, total, lacking = ones(len(grown)), len(grown), NO_INTS
    if len(builder.chunk_rows):
        wanted = rows.planned_computed[builder.chunk_rows] + builder.chunk_counts
        lacking = np.maximum((wanted + (size - 1)) // size - end[builder.chunk_rows], 0)
        total += int(np.add.reduce(lacking))
    copies = _shared_writes(shard, builder, group) if shard.allocators[group].has_forks else []
    return Growth([grown, builder.chunk_rows], [counts, lacking], copies, total + len(copies), total)


def _shared_writes(shard: Shard, builder: StepBuilder, group: int) -> list[tuple[int, int]]:
    """(row, table index) where a row of the step would write to a page that it shares."""
    scheduled = np.concatenate((builder.decoding.nonzero()[0], builder.chunk_rows))
    starts = shard.rows.planned_computed[scheduled]
    inside = (starts % shard.page_size).nonzero()[0]
    places = zip(scheduled[inside].tolist(), (starts[inside] // shard.page_size).tolist(), strict=True)
    table, allocator = shard.rows.tables[group], shard.allocators[group]
    return [(row, index) for row, index in places if allocator.must_copy(int(table[row, index]))]


def _copy_shared(
    allocator: PageAllocator, table: IntArray, places: list[tuple[int, int]]
) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]]]:
    """Give places (row, table index) pages of their own: what to copy (from, to), and the changed entries."""
    copied, changed = [], []
    for row, index in places:
        shared = int(table[row, index])
        if allocator.must_copy(shared):  # not if the other holder has just moved away
            table[row, index] = own = allocator.copy_on_write(shared)
            copied.append((shared, own))
            changed.append((row, index, own))
    return copied, changed
