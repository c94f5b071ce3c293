"""A decided step becomes a ShardPlan, and the rows advance to where they will be when it is done."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxpaged.scheduling.arrays import NO_INTS, BoolArray, IntArray, RowArray
from jaxpaged.scheduling.plan import Admission, ShardPlan
from jaxpaged.scheduling.rows import PROMPT_HEADS, Rows
from jaxpaged.scheduling.running import StepDraft
from jaxpaged.scheduling.shard import Shard

LOOKS_BACK = 2  # from this sampler variant on, sampling may depend on earlier tokens of the request


@dataclass(frozen=True, slots=True)
class Flight:
    """What commit() must know about a shard's part of a plan in flight: [n] each, in the plan's order."""

    rows: RowArray
    ends: IntArray
    samples: BoolArray
    epochs: IntArray
    guessed: IntArray  # empty without speculation

    @classmethod
    def empty(cls) -> Flight:
        """Of a shard that has nothing to do."""
        return cls(np.zeros(0, np.intp), NO_INTS, np.zeros(0, np.bool_), NO_INTS, NO_INTS)


def assemble(shard: Shard, draft: StepDraft) -> tuple[ShardPlan, Flight]:
    """The plan of a shard, single tokens first; planned_computed and planned_tokens move on."""
    rows = shard.rows
    order = _single_tokens_first(draft.counts)
    if order is not None:
        draft.rows, draft.counts = draft.rows[order], draft.counts[order]
    chosen, counts = draft.rows, draft.counts
    starts = rows.planned_computed[chosen]
    ends = starts + counts
    guessed = _guessed(draft)
    known = rows.num_tokens[chosen] + guessed if len(guessed) else rows.num_tokens[chosen]
    host_counts = np.minimum(np.maximum(known - starts, 0), counts)
    samples = ends >= rows.planned_tokens[chosen]
    num_decodes = int(np.count_nonzero(counts == 1))
    plan = ShardPlan(
        rows=chosen.astype(np.int32),
        starts=starts,
        counts=counts,
        host_counts=host_counts,
        tokens=_tokens(rows, chosen, starts, host_counts, num_decodes),
        samples=samples,
        prompt_logprob_rows=_prompt_logprob_rows(rows, chosen, starts, counts),
        page_writes=tuple(draft.page_writes),
        page_copies=tuple(np.array(pairs, np.int32).reshape(-1, 2) for pairs in draft.page_copies),
        admissions=_admissions(shard, draft),
        variant=int(rows.variant[chosen[samples]].max(initial=0)),
        num_decodes=num_decodes,
        draft_counts=guessed,
    )
    flight = Flight(chosen, ends, samples, rows.epoch[chosen], guessed)
    _advance(rows, flight)
    return plan, flight


def _advance(rows: Rows, flight: Flight) -> None:
    rows.planned_computed[flight.rows] = flight.ends
    rows.planned_tokens[flight.rows] += flight.samples
    if len(flight.guessed):  # how many guesses hold is not known: the row pauses until the plan is committed
        paused = flight.rows[flight.guessed > 0]
        rows.planned_tokens[paused] = rows.limit[paused]


def _single_tokens_first(counts: IntArray) -> RowArray | None:
    """The order that puts counts of 1 first, or None when they are so already."""
    single = counts == 1
    if single[: int(np.count_nonzero(single))].all():
        return None
    return np.argsort(~single, kind="stable")


def _guessed(draft: StepDraft) -> IntArray:
    if not draft.guesses:
        return NO_INTS
    return np.array([draft.guesses.get(row, 0) for row in draft.rows.tolist()], np.int32)


def _tokens(rows: Rows, chosen: RowArray, starts: IntArray, host_counts: IntArray, num_decodes: int) -> IntArray:
    """The tokens that the host gives, in the order of the rows."""
    given = host_counts[:num_decodes] > 0
    singles = rows.history[chosen[:num_decodes][given], starts[:num_decodes][given]]
    if num_decodes == len(chosen):
        return singles
    begin, count = starts[num_decodes:].tolist(), host_counts[num_decodes:].tolist()
    history = rows.history
    parts = [history[row, a : a + n] for row, a, n in zip(chosen[num_decodes:].tolist(), begin, count, strict=True)]
    return np.concatenate((singles, *parts))


def _prompt_logprob_rows(rows: Rows, chosen: RowArray, starts: IntArray, counts: IntArray) -> IntArray:
    """(token index in the step, row) of prompt positions that have a next prompt token: int32 [m, 2]."""
    parts = [np.zeros((0, 2), np.int32)]
    wanting = np.flatnonzero(rows.words[chosen, PROMPT_HEADS])
    if len(wanting):
        first = np.cumsum(counts) - counts
        for index in wanting.tolist():
            row, start = int(chosen[index]), int(starts[index])
            count = min(int(counts[index]), int(rows.prompt_len[row]) - 1 - start)
            if count > 0:
                tokens = np.arange(first[index], first[index] + count, dtype=np.int32)
                parts.append(np.column_stack((tokens, np.full(count, row, np.int32))))
    return np.concatenate(parts)


def _admissions(shard: Shard, draft: StepDraft) -> tuple[Admission, ...]:
    admitted = draft.admitted
    if shard.forked_rows:
        scheduled = set(draft.rows.tolist())
        admitted = admitted + [row for row in shard.forked_rows if row in scheduled]
        shard.forked_rows = [row for row in shard.forked_rows if row not in scheduled]
    if not admitted:
        return ()
    where = np.array(admitted, np.intp)
    pages = [
        [line[:end] for line, end in zip(table[where, : int(ends.max())], ends.tolist(), strict=True)]
        for table, ends in (
            (table, end[where]) for table, end in zip(shard.rows.tables, shard.rows.end_page, strict=True)
        )
    ]
    return tuple(map(_admission, [shard.rows] * len(admitted), admitted, zip(*pages, strict=True)))


def _admission(rows: Rows, row: int, pages: tuple[IntArray, ...]) -> Admission:
    request = rows.request(row)
    if request.row_words[PROMPT_HEADS]:
        known = request.tokens
    elif request.variant >= LOOKS_BACK:
        known = request.tokens[: rows.computed[row]]
    else:
        known = NO_INTS
    return Admission(
        row, request.request_id, request.params, request.prompt_len, request.seed, pages, known, request.prompt_embeds
    )
