"""What the rows that run already do in the next step: one token each where they decode, chunks where they catch up.

No phases: a row is behind its known tokens by one or by many. Rows that are behind by one come first and always fit, so a
long prompt delays them by no more than the chunk it shares a step with.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from jaxpaged.request import Request
from jaxpaged.scheduling.arrays import IntArray, RowArray, ragged_range
from jaxpaged.scheduling.shard import Shard


@dataclass(slots=True)
class StepDraft:
    """A shard's next step while it is being decided. `budget` tokens and `heads` logit rows are left."""

    budget: int
    heads: int
    rows: RowArray
    counts: IntArray
    catching_up: RowArray
    guesses: dict[int, int] = field(default_factory=dict)
    admitted: list[int] = field(default_factory=list)
    page_writes: list[IntArray] = field(default_factory=list)
    page_copies: list[list[tuple[int, int]]] = field(default_factory=list)
    preempted: list[Request] = field(default_factory=list)

    def add(self, rows: RowArray, counts: IntArray) -> None:
        self.rows = np.concatenate((self.rows, rows))
        self.counts = np.concatenate((self.counts, counts))


def draft_running(shard: Shard, budget: int, heads: int, now: float) -> StepDraft:
    """Choose tokens for all running rows and give them their pages, preempting the lowest-ranked where they run out."""
    rows = shard.rows
    active = np.flatnonzero(rows.active)
    planned = rows.planned_tokens[active]
    behind = planned - rows.planned_computed[active]
    behind[planned >= rows.limit[active]] = 0  # all that it may generate is in flight
    decoding, catching_up = active[behind == 1], active[behind > 1]
    used, ones = len(decoding), np.ones(len(decoding), np.int32)
    draft = StepDraft(budget - used, heads - used, decoding, ones, catching_up)
    if len(catching_up):
        _draft_chunks(shard, draft)
    if shard.guesses:
        _draft_guesses(shard, draft)
    _release_passed_pages(shard, draft)
    _preempt_until_it_fits(shard, draft, now)
    _grow(shard, draft)
    return draft


def take_chunk(draft: StepDraft, behind: int, prompt_heads: bool) -> int:
    """Tokens for a row that is `behind` its known tokens, within the budget and the head rows left; takes both.

    A prompt position whose log probabilities are wanted needs a head row; of other prompts only the last one does.
    """
    count = min(behind, draft.budget)
    if prompt_heads:
        count = heads = min(count, draft.heads)
    else:
        heads = int(count == behind)
        if heads > draft.heads:
            count, heads = count - 1, 0
    draft.budget -= count
    draft.heads -= heads
    return count


def _draft_chunks(shard: Shard, draft: StepDraft) -> None:
    """Chunks for rows that are behind by several tokens, the first in rank first."""
    rows = shard.rows
    chosen, counts = [], []
    for row in sorted(draft.catching_up.tolist(), key=lambda row: rows.request(row).rank):
        behind = int(rows.planned_tokens[row] - rows.planned_computed[row])
        count = take_chunk(draft, behind, bool(rows.prompt_heads[row]))
        if count:
            chosen.append(row)
            counts.append(count)
    draft.add(np.array(chosen, np.intp), np.array(counts, np.int32))


def _draft_guesses(shard: Shard, draft: StepDraft) -> None:
    """Let rows that decode and have nothing in flight verify their guessed tokens in the same step."""
    rows = shard.rows
    for index, row in enumerate(draft.rows.tolist()):
        idle = rows.planned_tokens[row] == rows.num_tokens[row] and rows.planned_computed[row] == rows.computed[row]
        if row not in shard.guesses or draft.counts[index] != 1 or not idle:
            continue
        known = int(rows.num_tokens[row])
        guess = shard.guesses.pop(row)[: min(draft.budget, draft.heads, int(rows.limit[row]) - known - 1)]
        rows.history[row, known : known + len(guess)] = guess
        draft.counts[index] += len(guess)
        draft.budget -= len(guess)
        draft.heads -= len(guess)
        if len(guess):
            draft.guesses[row] = len(guess)


def _release_passed_pages(shard: Shard, draft: StepDraft) -> None:
    """Let go of pages that a sliding window has left behind. Plans in flight that read them run before any new owner."""
    rows = shard.rows
    starts = rows.planned_computed[draft.rows]
    for group, geometry in enumerate(shard.geometry):
        if geometry.window is None:
            continue
        first = np.maximum(starts - (geometry.window - 1), 0) // geometry.page_size
        passed = first - rows.first_page[group][draft.rows]
        some = np.flatnonzero(passed > 0)
        if len(some):
            moved, counts = draft.rows[some], passed[some]
            entries = np.repeat(moved, counts), ragged_range(rows.first_page[group][moved], counts)
            shard.allocators[group].release(rows.tables[group][entries])
            rows.tables[group][entries] = 0
            rows.first_page[group][moved] = first[some]


def _missing_pages(shard: Shard, draft: StepDraft) -> list[IntArray]:
    """Per group, how many pages each row of the draft lacks: int32 [n]."""
    end = shard.rows.planned_computed[draft.rows] + draft.counts
    wanted = (end + (shard.page_size - 1)) // shard.page_size
    return [np.maximum(wanted - held[draft.rows], 0) for held in shard.rows.end_page]


def _shared_writes(shard: Shard, draft: StepDraft, group: int) -> list[tuple[int, int]]:
    """(row, table index) where a row would write to a page that it shares."""
    if not shard.allocators[group].has_forks:
        return []
    starts = shard.rows.planned_computed[draft.rows]
    inside = np.flatnonzero(starts % shard.page_size)
    places = zip(draft.rows[inside].tolist(), (starts[inside] // shard.page_size).tolist(), strict=True)
    table = shard.rows.tables[group]
    return [(row, index) for row, index in places if shard.allocators[group].must_copy(int(table[row, index]))]


def _preempt_until_it_fits(shard: Shard, draft: StepDraft, now: float) -> None:
    """Take the last in rank off their rows until the pages suffice for the others."""
    rows = shard.rows
    while True:
        missing = _missing_pages(shard, draft)
        wanted = [int(count.sum()) + len(_shared_writes(shard, draft, group)) for group, count in enumerate(missing)]
        if all(want <= allocator.available for want, allocator in zip(wanted, shard.allocators, strict=True)):
            return
        victim = max(np.flatnonzero(rows.active).tolist(), key=lambda row: rows.request(row).rank)
        draft.preempted.append(shard.preempt(victim, now))
        kept = draft.rows != victim
        draft.rows, draft.counts = draft.rows[kept], draft.counts[kept]
        draft.guesses.pop(victim, None)


def _grow(shard: Shard, draft: StepDraft) -> None:
    """Give the rows their missing pages, and pages of their own where they share the one they write to."""
    rows = shard.rows
    for group, missing in enumerate(_missing_pages(shard, draft)):
        table, allocator = rows.tables[group], shard.allocators[group]
        copies = []
        for row, index in _shared_writes(shard, draft, group):
            shared = int(table[row, index])
            if allocator.must_copy(shared):  # not if the other holder has just moved away
                table[row, index] = allocator.copy_on_write(shared)
                copies.append((row, index, shared))
        some = np.flatnonzero(missing)
        grown, counts = draft.rows[some], missing[some]
        where = np.repeat(grown, counts), ragged_range(rows.end_page[group][grown], counts)
        pages = allocator.allocate(int(counts.sum()))
        table[where] = pages
        rows.end_page[group][grown] += counts
        draft.page_writes.append(_writes(table, where, copies))
        draft.page_copies.append([(shared, int(table[row, index])) for row, index, shared in copies])


def _writes(table: IntArray, where: tuple[RowArray, IntArray], copies: list[tuple[int, int, int]]) -> IntArray:
    """(row, table index, page) of every changed table entry: int32 [k, 3]."""
    writes = np.empty((len(where[0]) + len(copies), 3), np.int32)
    grown = writes[: len(where[0])]
    grown[:, 0], grown[:, 1], grown[:, 2] = where[0], where[1], table[where]
    for line, (row, index, _) in zip(writes[len(grown) :], copies, strict=True):
        line[:] = row, index, table[row, index]
    return writes
