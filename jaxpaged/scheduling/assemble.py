"""A decided step becomes a ShardPlan, and the rows advance to where they will be when it is done."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxpaged.scheduling.arrays import NO_INTS, NO_ROWS, BoolArray, IntArray, RowArray, ones
from jaxpaged.scheduling.plan import Admission, ShardPlan
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.rows import Rows
from jaxpaged.scheduling.running import StepBuilder
from jaxpaged.scheduling.shard import Shard

LOOKS_BACK = 2  # from this sampler variant on, sampling may depend on earlier tokens of the request
NO_PAIRS: IntArray = np.zeros((0, 2), np.int32)


@dataclass(frozen=True, slots=True)
class Flight:
    """What commit() must know about a shard's part of a plan in flight, in the plan's order: all [n].

    drafted is empty without speculation. partial and partial_ends: which of the n are not sampled, and how many of
    their tokens will be computed.
    """

    rows: RowArray
    samples: BoolArray
    drafted: IntArray
    epochs: IntArray
    partial: RowArray
    partial_ends: IntArray


def assemble(shard: Shard, builder: StepBuilder) -> tuple[ShardPlan, Flight]:
    """The plan of a shard, single tokens first; planned_computed and planned_tokens move on."""
    rows = shard.rows
    chosen, counts, num_decodes = _chosen(builder)
    starts = rows.planned_computed[chosen]
    drafted = _drafted(builder, chosen)
    known = rows.num_tokens[chosen] + drafted if len(drafted) else rows.num_tokens[chosen]
    host_counts = np.minimum(np.maximum(known - starts, 0), counts)
    samples, partial, partial_ends = _advance(rows, builder, chosen, starts + counts)
    scores_prompt, waits, variant = rows.needs()
    sampled = chosen if not len(partial) else chosen[samples]
    plan = ShardPlan(
        request_ids=rows.ids[chosen],
        rows=chosen.astype(np.int32),
        starts=starts,
        counts=counts,
        host_counts=host_counts,
        tokens=_tokens(rows, chosen, starts, host_counts, num_decodes),
        samples=samples,
        prompt_logprob_rows=_prompt_logprob_rows(rows, chosen, starts, counts) if scores_prompt else NO_PAIRS,
        page_writes=tuple(builder.page_writes),
        page_copies=tuple([np.array(pairs, np.int32) if pairs else NO_PAIRS for pairs in builder.page_copies]),
        admissions=_admissions(shard, builder, chosen),
        variant=int(np.maximum.reduce(rows.variant[sampled], initial=0)) if variant else 0,
        num_decodes=num_decodes,
        draft_counts=drafted,
    )
    if waits:
        rows.pause(sampled)
    if len(drafted):  # how many draft tokens are right is not known: the row pauses until the plan is committed
        paused = chosen[drafted > 0]
        rows.planned_tokens[paused] = rows.limit[paused]
    return plan, Flight(chosen, samples, drafted, rows.epoch[chosen], partial, partial_ends)


def _chosen(builder: StepBuilder) -> tuple[RowArray, IntArray, int]:
    """Rows [n] and counts [n] of the step, those with one token first, and how many these are."""
    decoding = builder.decoding.nonzero()[0]
    chunk_rows, chunk_counts = builder.chunk_rows, builder.chunk_counts
    num_decodes = len(decoding)
    counts = ones(num_decodes + len(chunk_rows))
    if not len(chunk_rows):
        return decoding, counts, num_decodes
    singles = chunk_counts.tolist().count(1)
    if singles:
        order = (chunk_counts > 1).argsort(kind="stable")
        chunk_rows, chunk_counts = chunk_rows[order], chunk_counts[order]
    counts[num_decodes:] = chunk_counts
    return np.concatenate((decoding, chunk_rows)), counts, num_decodes + singles


def _advance(
    rows: Rows, builder: StepBuilder, chosen: RowArray, ends: IntArray
) -> tuple[BoolArray, RowArray, IntArray]:
    """Move planned_computed of the chosen rows to `ends` [n], and planned_tokens of those that reach their planned
    tokens, which are sampled. Returns which these are [n], the positions of the others, and their ends."""
    rows.plan(builder.decoding)
    samples: BoolArray = ends > 0  # all of them
    if not len(builder.chunk_rows):
        return samples, NO_ROWS, NO_INTS
    first = len(chosen) - len(builder.chunk_rows)
    chunks, chunk_ends = chosen[first:], ends[first:]
    done = chunk_ends >= rows.planned_tokens[chunks]
    rows.planned_computed[chunks] = chunk_ends
    rows.planned_tokens[chunks] += done
    if np.count_nonzero(done) == len(done):
        return samples, NO_ROWS, NO_INTS
    samples[first:] = done
    partial = (~done).nonzero()[0]
    return samples, partial + first, chunk_ends[partial]


def _drafted(builder: StepBuilder, chosen: RowArray) -> IntArray:
    if not builder.draft_tokens:
        return NO_INTS
    return np.array([builder.draft_tokens.get(row, 0) for row in chosen.tolist()], np.int32)


def _tokens(rows: Rows, chosen: RowArray, starts: IntArray, host_counts: IntArray, num_decodes: int) -> IntArray:
    """The tokens that the host gives, in the order of the rows."""
    given, history, singles = host_counts[:num_decodes].nonzero()[0], rows.flat_history, NO_INTS
    if len(given):
        singles = history[rows.history_index(chosen[given], starts[given])]
    if num_decodes == len(chosen):
        return singles
    begin = rows.history_index(chosen[num_decodes:], starts[num_decodes:])
    end = begin + host_counts[num_decodes:]
    return np.concatenate([singles, *[history[a:b] for a, b in zip(begin.tolist(), end.tolist(), strict=True)]])


def _prompt_logprob_rows(rows: Rows, chosen: RowArray, starts: IntArray, counts: IntArray) -> IntArray:
    """(token index in the step, row) of prompt positions that have a next prompt token: int32 [m, 2]."""
    parts = [NO_PAIRS]
    first = np.cumsum(counts) - counts
    for index in np.flatnonzero(rows.scores_prompt[chosen]).tolist():
        row = int(chosen[index])
        count = min(int(counts[index]), int(rows.prompt_len[row]) - 1 - int(starts[index]))
        if count > 0:
            tokens = np.arange(first[index], first[index] + count, dtype=np.int32)
            parts.append(np.column_stack((tokens, np.full(count, row, np.int32))))
    return np.concatenate(parts)


def _admissions(shard: Shard, builder: StepBuilder, chosen: RowArray) -> tuple[Admission, ...]:
    """Rows that this plan is the first to compute."""
    admitted = builder.admitted
    if shard.forked_rows:
        scheduled = set(chosen.tolist())
        admitted = admitted + [row for row in shard.forked_rows if row in scheduled]
        shard.forked_rows = [row for row in shard.forked_rows if row not in scheduled]
    if not admitted:
        return ()
    rows, where = shard.rows, np.array(admitted, np.intp)
    requests, computed = rows.requests_in(where), rows.computed[where].tolist()
    tables = [_lines(table, where, end[where]) for table, end in zip(rows.tables, rows.end_page, strict=True)]
    return tuple(map(_admission, requests, zip(*tables, strict=True), computed))


def _lines(table: IntArray, where: RowArray, ends: IntArray) -> list[IntArray]:
    """The first entries of rows `where` [n] of a page table, up to `ends` [n]."""
    lines = table[where, : int(np.maximum.reduce(ends))]
    return [line[:end] for line, end in zip(lines, ends.tolist(), strict=True)]


def _admission(request: Request, pages: tuple[IntArray, ...], computed: int) -> Admission:
    known = NO_INTS
    if request.scores_prompt:
        known = request.tokens
    elif computed and request.variant >= LOOKS_BACK and request.beams is None:
        known = request.tokens[:computed]
    return Admission(
        request.row, request.request_id, request.params, len(request.prompt_token_ids), request.seed, pages, known,
        request.prompt_embeds, request.eos_token_ids,
    )  # fmt: skip
