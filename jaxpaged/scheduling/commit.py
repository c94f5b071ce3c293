"""A step's answers come back: tokens are appended, full pages published, and requests that are done leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxpaged.errors import InvariantError
from jaxpaged.params.no_token import no_token_left
from jaxpaged.scheduling.arrays import NO_FLAGS, BoolArray, IntArray, RowArray
from jaxpaged.scheduling.assemble import Flight
from jaxpaged.scheduling.plan import ShardResult
from jaxpaged.scheduling.prefix_cache import PrefixHasher
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
    """Of m sequences, [m]: tokens known before and now, whether the last one stops it, whether it ends at all."""

    before: IntArray
    known: IntArray
    stopped: BoolArray
    ended: BoolArray


def commit_shard(shard: Shard, flight: Flight, result: ShardResult, now: float) -> ShardCommit:
    """Apply a shard's results. Raises InvariantError when they do not belong to the plan."""
    _check_shape(flight, result)
    rows = shard.rows
    live = rows.epoch[flight.rows] == flight.epochs
    failed = live & ~result.finite if np.count_nonzero(result.finite) < len(live) else NO_FLAGS
    _advance_chunks(rows, flight, live & ~failed if len(failed) else live)
    index = (flight.samples & live | failed if len(failed) else flight.samples & live).nonzero()[0]
    where, tokens, counts = flight.rows[index], result.tokens[index], result.num_tokens[index]
    if len(failed):
        failed = failed[index]
        counts *= ~failed
        _name_what_forbids(rows, flight, result, live)
    outcome = _append(rows, where, tokens, counts)
    if shard.hasher is not None:
        _publish(shard, shard.hasher, where, outcome, failed)
    leaving = outcome.ended | failed if len(failed) else outcome.ended
    ended = leaving.nonzero()[0]
    taken = outcome.known - outcome.before
    report = ShardCommit(
        live=live,
        index=index,
        request_ids=rows.ids[where].tolist(),
        tokens=tokens,
        num_tokens=taken,
        begun=_begun(rows, where, outcome, now),
        ended=ended,
        finished=_finish(rows, where, tokens, outcome, ended, failed, now) if len(ended) else [],
        preempted=_set_back(shard, flight, index, ~leaving, taken, now),
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
    if count and int(np.maximum.reduce(result.num_tokens)) > result.tokens.shape[1]:
        raise InvariantError("a result counts more tokens than it holds")


def _name_what_forbids(rows: Rows, flight: Flight, result: ShardResult, live: BoolArray) -> None:
    """Requests that have forbidden every token end with the names of the fields that did."""
    if len(result.empty):
        for request in rows.requests_in(flight.rows[result.empty & live & ~result.finite]):
            request.stop_reason = no_token_left(request.params)


def _advance_chunks(rows: Rows, flight: Flight, good: BoolArray) -> None:
    """Rows that were not sampled have computed a part of their tokens."""
    if len(flight.partial):
        advanced = good[flight.partial]
        rows.computed[flight.rows[flight.partial[advanced]]] = flight.partial_ends[advanced]


def _append(rows: Rows, where: RowArray, tokens: IntArray, counts: IntArray) -> _Outcome:
    """Write the first counts [m] of tokens [m, k] into the history, up to the first that ends its request."""
    before = rows.num_tokens[where]
    stop, stop_from, limit = rows.stop[where], rows.stop_from[where], rows.limit[where]
    known, stopped, ended = before, np.zeros(len(where), np.bool_), np.zeros(len(where), np.bool_)
    for column in range(tokens.shape[1]):
        token, going = tokens[:, column], counts > column
        if column:
            going &= ~ended
        entries = rows.history_index(where, known)
        if np.count_nonzero(going) == len(going):
            rows.flat_history[entries] = token
        else:
            rows.flat_history[entries[going]] = token[going]
        known = known + going
        stops = stop == token
        if len(rows.more_stops):
            stops |= (rows.more_stops[:, where] == token).any(axis=0)
        stops &= known >= stop_from
        stops &= going
        stopped |= stops
        ended |= stops
        ended |= known >= limit
    rows.num_tokens[where] = known
    rows.computed[where] = known - 1
    return _Outcome(before, known, stopped, ended)


def _publish(shard: Shard, hasher: PrefixHasher, where: RowArray, outcome: _Outcome, failed: BoolArray) -> None:
    """Publish the full pages of the rows whose logits were finite."""
    computed = outcome.known - 1
    if len(failed):
        where, computed = where[~failed], computed[~failed]
    publish_full_pages(shard, hasher, where, computed)


def _begun(rows: Rows, where: RowArray, outcome: _Outcome, now: float) -> list[tuple[int, Request]]:
    """Which have their first token now."""
    event, first = ("first_token", now), outcome.before == rows.prompt_len[where]
    first &= outcome.known > outcome.before
    positions = first.nonzero()[0]
    requests = rows.requests_in(where[positions])
    for request in requests:
        request.events.append(event)
    return list(zip(positions.tolist(), requests, strict=True))


def _finish(
    rows: Rows, where: RowArray, tokens: IntArray, outcome: _Outcome, ended: RowArray, failed: BoolArray, now: float
) -> list[Request]:
    """Say why the requests `ended` [e] of m end: stop, length, or error for logits that were not finite."""
    requests, event = rows.requests_in(where[ended]), ("finished", now)
    last = tokens[ended, outcome.known[ended] - outcome.before[ended] - 1].tolist()
    stopped, broken = outcome.stopped[ended].tolist(), failed[ended].tolist() if len(failed) else [False] * len(ended)
    for request, token, by_token, by_error in zip(requests, last, stopped, broken, strict=True):
        if by_token:
            request.finish_reason = "stop"
            if request.params.ignore_eos or token not in request.eos_token_ids:
                request.stop_reason = token
        else:
            request.finish_reason = "error" if by_error else "length"
        request.events.append(event)
    return requests


def _set_back(
    shard: Shard, flight: Flight, index: RowArray, staying: BoolArray, taken: IntArray, now: float
) -> list[Request]:
    """Plan rows anew that took another number of tokens than one: plans in flight for them assumed otherwise.

    Returns requests that had to be preempted: a plan in flight let go of what it needs again, or wrote over it.
    """
    unexpected = taken != 1
    if len(flight.drafted):
        unexpected |= flight.drafted[index] > 0
    if not np.count_nonzero(unexpected):
        return []
    rows, where = shard.rows, flight.rows[index[unexpected & staying]]
    lost = [row for row in where.tolist() if shard.resume_point(row, int(rows.computed[row])) != rows.computed[row]]
    rows.planned_tokens[where] = rows.num_tokens[where]
    rows.planned_computed[where] = rows.computed[where]
    rows.epoch[where] += 1
    return [shard.preempt(row, now) for row in lost]
