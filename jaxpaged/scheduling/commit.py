"""A step's answers come back: tokens are appended, full pages published, and requests that are done leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxpaged.errors import InvariantError
from jaxpaged.params.no_token import no_token_left
from jaxpaged.scheduling.arrays import BoolArray, IntArray, RowArray
from jaxpaged.scheduling.assemble import Flight
from jaxpaged.scheduling.plan import ShardResult
from jaxpaged.scheduling.publish import publish_full_pages
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.rows import Rows
from jaxpaged.scheduling.shard import Shard


@dataclass(frozen=True, slots=True)
class ShardCommit:
    """What became of the n sequences of a ShardPlan.

    live: bool [n], False where the result was dropped because the request had left or been set back meanwhile.
    index: [m] the sequences that were sampled or failed; for these request_ids [m], tokens int32 [m, k] and how many of
    them to keep, num_tokens int32 [m] (0 for a failed one).
    begun: the m that have their first token now, with their requests.
    ended: [e] which of the m ended, finished [e] their requests, which know why.
    """

    live: BoolArray
    index: RowArray
    request_ids: list[int]
    tokens: IntArray
    num_tokens: IntArray
    begun: list[tuple[int, Request]]
    ended: RowArray
    finished: list[Request]
    preempted: list[Request]


@dataclass(frozen=True, slots=True)
class Committed:
    """commit()'s answer, shard by shard in the order of the plan."""

    shards: tuple[ShardCommit, ...]


class _Outcome(NamedTuple):
    """Per row, [R]: tokens taken, whether they begin it, whether the last stops it, whether it ends at all."""

    taken: IntArray
    begun: BoolArray
    stopped: BoolArray
    ended: BoolArray


def commit_shard(shard: Shard, flight: Flight, result: ShardResult, now: float) -> ShardCommit:
    """Apply a shard's results. Raises InvariantError when they do not belong to the plan."""
    _check_shape(flight, result)
    rows = shard.rows
    live = rows.epoch == flight.epochs
    sampled, failed = flight.sampled & live, np.zeros(len(live), np.bool_)
    if not result.finite.all():
        failed[flight.rows[~result.finite]] = True
        failed &= live
        _name_what_forbids(rows, flight, result, failed)
        sampled &= ~failed
    _advance_chunks(rows, flight, live & ~failed)
    outcome = _append(rows, flight, result, sampled, now)
    if shard.hasher is not None:
        publish_full_pages(shard, shard.hasher, sampled)

    index = (sampled | failed)[flight.rows].nonzero()[0]
    where, tokens = flight.rows[index], result.tokens[index]
    leaving = outcome.ended | failed
    ended = leaving[where].nonzero()[0]
    report = ShardCommit(
        live=live[flight.rows],
        index=index,
        request_ids=rows.ids[where].tolist(),
        tokens=tokens,
        num_tokens=outcome.taken[where],
        begun=_begun(rows, where, outcome),
        ended=ended,
        finished=_finish(rows, where[ended], tokens[ended], outcome, failed, now) if len(ended) else [],
        preempted=_set_back(shard, flight, sampled & ~leaving, outcome, now),
    )
    if len(ended):
        shard.vacate(where[ended])
    return report


def _check_shape(flight: Flight, result: ShardResult) -> None:
    count = len(flight.rows)
    if result.tokens.ndim != 2 or result.tokens.shape[1] < 1:
        raise InvariantError(f"a result's tokens have the shape {result.tokens.shape} instead of [n, k >= 1]")
    if not (len(result.tokens) == len(result.num_tokens) == len(result.finite) == count):
        raise InvariantError(f"a result for {len(result.tokens)} sequences answers a plan of {count}")
    if count and int(result.num_tokens.max()) > result.tokens.shape[1]:
        raise InvariantError("a result counts more tokens than it holds")


def _name_what_forbids(rows: Rows, flight: Flight, result: ShardResult, failed: BoolArray) -> None:
    """Requests that have forbidden every token end with the names of the fields that did."""
    if not len(result.empty):
        return
    where = flight.rows[result.empty]
    for request in rows.requests[where[failed[where]]].tolist():
        request.stop_reason = no_token_left(request.params)


def _advance_chunks(rows: Rows, flight: Flight, good: BoolArray) -> None:
    """Rows that were not sampled have computed a part of their tokens."""
    if len(flight.chunk_rows):
        advanced = good[flight.chunk_rows]
        rows.computed[flight.chunk_rows[advanced]] = flight.chunk_ends[advanced]


def _append(rows: Rows, flight: Flight, result: ShardResult, sampled: BoolArray, now: float) -> _Outcome:
    """Write sampled tokens into the history, column after column, up to the first that ends its request."""
    size = len(sampled)
    before, counts, token = rows.num_tokens.copy(), np.zeros(size, np.int32), np.zeros(size, np.int32)
    stopped, ended = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    counts[flight.rows] = result.num_tokens
    history = rows.history.reshape(-1)
    event, begun = ("first_token", now), sampled & (before == rows.prompt_len) & (counts > 0)
    for request in rows.requests[begun].tolist():
        request.events.append(event)
    for column in range(result.tokens.shape[1]):
        going = sampled & (counts > column) & ~ended
        token[flight.rows] = result.tokens[:, column]
        where = going.nonzero()[0]
        history[rows.history_index(where, rows.num_tokens[where])] = token[where]
        rows.num_tokens += going
        stops = rows.stop == token
        if len(rows.more_stops):
            stops |= (rows.more_stops == token).any(axis=0)
        stops &= going & (rows.num_tokens >= rows.stop_from)
        stopped |= stops
        ended |= stops | (going & (rows.num_tokens >= rows.limit))
    np.copyto(rows.computed, rows.num_tokens - 1, where=sampled)
    return _Outcome(rows.num_tokens - before, begun, stopped, ended)


def _begun(rows: Rows, where: RowArray, outcome: _Outcome) -> list[tuple[int, Request]]:
    positions = outcome.begun[where].nonzero()[0]
    return list(zip(positions.tolist(), rows.requests[where[positions]].tolist(), strict=True))


def _finish(
    rows: Rows, where: RowArray, tokens: IntArray, outcome: _Outcome, failed: BoolArray, now: float
) -> list[Request]:
    """Say why the requests in these rows end: stop, length, or error for logits that were not finite."""
    requests: list[Request] = rows.requests[where].tolist()
    last = tokens[np.arange(len(where)), outcome.taken[where] - 1].tolist()
    stopped, broken, event = outcome.stopped[where].tolist(), failed[where].tolist(), ("finished", now)
    for request, token, by_token, by_error in zip(requests, last, stopped, broken, strict=True):
        if by_token:
            request.finish_reason = "stop"
            if request.params.ignore_eos or token not in request.eos_token_ids:
                request.stop_reason = token
        else:
            request.finish_reason = "error" if by_error else "length"
        request.events.append(event)
    return requests


def _set_back(shard: Shard, flight: Flight, staying: BoolArray, outcome: _Outcome, now: float) -> list[Request]:
    """Plan rows anew that took another number of tokens than one: plans in flight for them assumed otherwise.

    Returns requests that had to be preempted: a plan in flight let go of what it needs again, or wrote over it.
    """
    rows = shard.rows
    unexpected = staying & (outcome.taken != 1)
    if len(flight.drafted):
        drafted = flight.rows[flight.drafted > 0]
        unexpected[drafted] = staying[drafted]
    where: RowArray = unexpected.nonzero()[0]
    if not len(where):
        return []
    lost = [row for row in where.tolist() if shard.resume_point(row, int(rows.computed[row])) != rows.computed[row]]
    rows.planned_tokens[where] = rows.num_tokens[where]
    rows.planned_computed[where] = rows.computed[where]
    rows.epoch[where] += 1
    return [shard.preempt(row, now) for row in lost]
