"""A step's answers come back: tokens are appended, full pages published, and requests that are done leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxpaged.errors import InvariantError
from jaxpaged.request import Request, RequestStatus
from jaxpaged.scheduling.arrays import BoolArray, IntArray, RowArray, ragged_range
from jaxpaged.scheduling.assemble import Flight
from jaxpaged.scheduling.digest_table import DIGEST_BYTES, as_digests
from jaxpaged.scheduling.plan import ShardResult
from jaxpaged.scheduling.rows import Rows
from jaxpaged.scheduling.shard import Shard


class Finished(NamedTuple):
    """A request that ended; `position` counts in ShardCommit.index. The reasons are in the request."""

    position: int
    request: Request


@dataclass(frozen=True, slots=True)
class ShardCommit:
    """What became of the n sequences of a ShardPlan.

    live: bool [n], False where the result was dropped because the request had left or been set back meanwhile.
    index: [m] the sequences that were sampled or failed; for these request_ids [m], tokens int32 [m, k] and how many of
    them to keep, num_tokens int32 [m] (0 for a failed one).
    """

    live: BoolArray
    index: RowArray
    request_ids: list[str]
    tokens: IntArray
    num_tokens: IntArray
    finished: tuple[Finished, ...]
    preempted: list[Request]


@dataclass(frozen=True, slots=True)
class Committed:
    """commit()'s answer, shard by shard in the order of the plan."""

    shards: tuple[ShardCommit, ...]


class _Outcome(NamedTuple):
    """Per row, [R]: tokens taken, whether the last of them stops the request, whether the request ends at all."""

    taken: IntArray
    stopped: BoolArray
    ended: BoolArray


def commit_shard(shard: Shard, flight: Flight, result: ShardResult, now: float) -> ShardCommit:
    """Apply a shard's results. Raises InvariantError when they do not belong to the plan."""
    _check_shape(flight, result)
    rows = shard.rows
    live = rows.epoch == flight.epochs
    failed = np.zeros_like(live)
    if not result.finite.all():
        failed[flight.rows[~result.finite]] = True
        failed &= live
    good = live & ~failed
    partial = good[flight.chunk_rows]
    rows.computed[flight.chunk_rows[partial]] = flight.chunk_ends[partial]

    answered = flight.sampled & good
    outcome = _append(rows, flight, result, answered, now)
    if shard.hasher is not None:
        _publish(shard, answered)
    here = live[flight.rows]
    index = (answered | failed)[flight.rows].nonzero()[0]
    where, tokens = flight.rows[index], result.tokens[index]
    leaving = outcome.ended | failed
    report = ShardCommit(
        live=here,
        index=index,
        request_ids=rows.ids[where].tolist(),
        tokens=tokens,
        num_tokens=outcome.taken[where],
        finished=_finish(rows, where, tokens, outcome, failed, now),
        preempted=_set_back(shard, flight, answered & ~leaving, outcome, now),
    )
    if report.finished:
        shard.vacate(leaving.nonzero()[0])
    return report


def _check_shape(flight: Flight, result: ShardResult) -> None:
    count = len(flight.rows)
    if result.tokens.ndim != 2 or result.tokens.shape[1] < 1:
        raise InvariantError(f"a result's tokens have the shape {result.tokens.shape} instead of [n, k >= 1]")
    if not (len(result.tokens) == len(result.num_tokens) == len(result.finite) == count):
        raise InvariantError(f"a result for {len(result.tokens)} sequences answers a plan of {count}")
    if count and int(result.num_tokens.max()) > result.tokens.shape[1]:
        raise InvariantError("a result counts more tokens than it holds")


def _append(rows: Rows, flight: Flight, result: ShardResult, answered: BoolArray, now: float) -> _Outcome:
    """Write sampled tokens into the history, column after column, up to the first that ends its request."""
    before = rows.num_tokens.copy()
    counts, token = np.zeros_like(before), np.zeros_like(before)
    counts[flight.rows] = result.num_tokens
    going = answered & (counts > 0)
    stopped, ended = np.zeros_like(going), np.zeros_like(going)
    event = ("first_token", now)
    for request in rows.requests[going & (before == rows.prompt_len)].tolist():
        request.events.append(event)
    for column in range(result.tokens.shape[1]):
        if column:
            going &= (counts > column) & ~ended
        token[flight.rows] = result.tokens[:, column]
        where = going.nonzero()[0]
        rows.history[where, rows.num_tokens[where]] = token[where]
        rows.num_tokens += going
        stops = going & (rows.stops == token).any(axis=0) & (rows.num_tokens >= rows.stop_from)
        stopped |= stops
        ended |= stops | (going & (rows.num_tokens >= rows.limit))
    np.copyto(rows.computed, rows.num_tokens - 1, where=answered)
    return _Outcome(rows.num_tokens - before, stopped, ended)


def _publish(shard: Shard, answered: BoolArray) -> None:
    """Hash the pages that have become full and offer them to the prefix cache.

    Only rows whose latest logits were finite come here, so nothing that a failing step computed is ever found.
    """
    rows, hasher = shard.rows, shard.hasher
    full = rows.computed // shard.page_size
    grown = (answered & (full > rows.published)).nonzero()[0]
    if not len(grown) or hasher is None:
        return
    first, last = rows.published[grown], full[grown]
    parts = []
    lines = zip(grown.tolist(), rows.requests[grown].tolist(), first.tolist(), last.tolist(), strict=True)
    for row, request, begin, end in lines:
        if len(request.page_digests) < end * DIGEST_BYTES:
            hasher.extend(request, rows.history[row], end)
        parts.append(request.page_digests[begin * DIGEST_BYTES : end * DIGEST_BYTES])
    rows.published[grown] = last
    digests = as_digests(b"".join(parts))
    entries = grown.repeat(last - first), ragged_range(first, last - first)
    for table, allocator in zip(rows.tables, shard.allocators, strict=True):
        pages = table[entries]
        held = pages.nonzero()[0]  # the others are behind a window already
        allocator.publish(pages[held], digests[held])


def _finish(
    rows: Rows, where: RowArray, tokens: IntArray, outcome: _Outcome, failed: BoolArray, now: float
) -> tuple[Finished, ...]:
    """Mark the requests that end, and say why: stop, length, or error for logits that were not finite."""
    leaving = (outcome.ended | failed)[where].nonzero()[0]
    if not len(leaving):
        return ()
    ending = where[leaving]
    last = tokens[leaving, outcome.taken[ending] - 1]
    finished = []
    done, event = RequestStatus.FINISHED, ("finished", now)
    for position, request, token, stopped, broken in zip(
        leaving.tolist(),
        rows.requests[ending].tolist(),
        last.tolist(),
        outcome.stopped[ending].tolist(),
        failed[ending].tolist(),
        strict=True,
    ):
        if stopped:
            is_eos = token in request.eos_token_ids and not request.params.ignore_eos
            request.stop_reason = None if is_eos else token
        request.status = done
        request.finish_reason = "stop" if stopped else "error" if broken else "length"
        request.events.append(event)
        finished.append(Finished(position, request))
    return tuple(finished)


def _set_back(shard: Shard, flight: Flight, staying: BoolArray, outcome: _Outcome, now: float) -> list[Request]:
    """Plan rows anew that took another number of tokens than one: plans in flight for them assumed otherwise.

    Returns requests that had to be preempted: a plan in flight let go of a page that the row would need again.
    """
    rows = shard.rows
    unexpected = staying & (outcome.taken != 1)
    if len(flight.guessed):
        guessed = flight.rows[flight.guessed > 0]
        unexpected[guessed] = staying[guessed]
    where = unexpected.nonzero()[0]
    rows.planned_tokens[where] = rows.num_tokens[where]
    rows.planned_computed[where] = rows.computed[where]
    rows.epoch[where] += 1
    return [shard.preempt(row, now) for row in where.tolist() if not shard.sees_all(row)]
