"""A step's answers come back: tokens are appended, full pages published, and requests that are done leave their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxpaged.errors import InvariantError
from jaxpaged.request import Request, RequestStatus
from jaxpaged.scheduling.arrays import BoolArray, IntArray, RowArray, ragged_range
from jaxpaged.scheduling.assemble import Flight
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
    """Of m sampled sequences: how many tokens to keep, whether the last of them stops it, whether it ends at all."""

    kept: IntArray
    stopped: BoolArray
    ended: BoolArray


def commit_shard(shard: Shard, flight: Flight, result: ShardResult, now: float) -> ShardCommit:
    """Apply a shard's results. Raises InvariantError when they do not belong to the plan."""
    _check_shape(flight, result)
    rows = shard.rows
    live = rows.epoch[flight.rows] == flight.epochs
    chunks = live & result.finite & ~flight.samples
    rows.computed[flight.rows[chunks]] = flight.ends[chunks]

    index = np.flatnonzero(live & (flight.samples | ~result.finite))
    where, tokens, failed = flight.rows[index], result.tokens[index], ~result.finite[index]
    expected = result.num_tokens[index] == 1
    if len(flight.guessed):
        expected &= flight.guessed[index] == 0
    ids = rows.ids[where].tolist()
    outcome = _append(rows, where, tokens, np.where(failed, 0, result.num_tokens[index]), now)
    if shard.hasher is not None:
        _publish(shard, where[~failed])
    leaving = outcome.ended | failed
    finished = _finish(rows, where, tokens, outcome, failed, now)
    if finished:
        shard.vacate(where[leaving])
    preempted = _set_back(shard, where[~expected & ~leaving], now)
    return ShardCommit(live, index, ids, tokens, outcome.kept, finished, preempted)


def _check_shape(flight: Flight, result: ShardResult) -> None:
    count = len(flight.rows)
    if not (len(result.tokens) == len(result.num_tokens) == len(result.finite) == count):
        raise InvariantError(f"a result for {len(result.tokens)} sequences answers a plan of {count}")
    if count and int(result.num_tokens.max()) > result.tokens.shape[1]:
        raise InvariantError("a result counts more tokens than it holds")


def _append(rows: Rows, where: RowArray, tokens: IntArray, counts: IntArray, now: float) -> _Outcome:
    """Write sampled tokens [m, k] into the history, up to the first that ends its request."""
    known = rows.num_tokens[where]
    step = np.arange(tokens.shape[1], dtype=np.int32)
    lengths = known[:, None] + (step + 1)[None, :]
    stops = (tokens[:, :, None] == rows.stops[where][:, None, :]).any(axis=2)
    stops &= lengths >= rows.stop_from[where][:, None]
    ends = (stops | (lengths >= rows.limit[where][:, None])) & (step[None, :] < counts[:, None])
    ended = ends.any(axis=1)
    kept = np.where(ended, ends.argmax(axis=1).astype(np.int32) + 1, counts)
    line, column = np.nonzero(step[None, :] < kept[:, None])
    rows.history[where[line], known[line] + column] = tokens[line, column]
    rows.num_tokens[where] = known + kept
    rows.computed[where] = known + kept - 1
    for row in where[(known == rows.prompt_len[where]) & (kept > 0)].tolist():
        rows.request(row).events.append(("first_token", now))
    stopped = ended & stops[np.arange(len(where)), np.maximum(kept - 1, 0)]
    return _Outcome(kept, stopped, ended)


def _publish(shard: Shard, where: RowArray) -> None:
    """Hash the pages that have become full and offer them to the prefix cache.

    Only rows whose latest logits were finite come here, so nothing that a failing step computed is ever found.
    """
    rows, hasher = shard.rows, shard.hasher
    full = rows.computed[where] // shard.page_size
    news = np.flatnonzero(full > rows.published[where])
    if not len(news) or hasher is None:
        return
    grown, last = where[news], full[news]
    first = rows.published[grown]
    digests: list[bytes] = []
    for row, a, b in zip(grown.tolist(), first.tolist(), last.tolist(), strict=True):
        request = rows.request(row)
        if len(request.page_digests) < b:
            hasher.extend(request, rows.history[row], b)
        digests += request.page_digests[a:b]
    rows.published[grown] = last
    entries = np.repeat(grown, last - first), ragged_range(first, last - first)
    for table, allocator in zip(rows.tables, shard.allocators, strict=True):
        pages = table[entries]
        if pages.all():
            allocator.publish(pages, digests)
        else:  # some are behind a window already
            held = np.flatnonzero(pages)
            allocator.publish(pages[held], [digests[i] for i in held.tolist()])


def _finish(
    rows: Rows, where: RowArray, tokens: IntArray, outcome: _Outcome, failed: BoolArray, now: float
) -> tuple[Finished, ...]:
    """Mark the requests that ended, and say why: stop, length, or error for logits that were not finite."""
    finished = []
    for position in np.flatnonzero(outcome.ended | failed).tolist():
        request = rows.request(int(where[position]))
        if failed[position]:
            reason = "error"
        elif outcome.stopped[position]:
            reason = "stop"
            last = int(tokens[position, outcome.kept[position] - 1])
            is_eos = last in request.eos_token_ids and not request.params.ignore_eos
            request.stop_reason = None if is_eos else last
        else:
            reason = "length"
        mark_finished(request, reason, now)
        finished.append(Finished(position, request))
    return tuple(finished)


def mark_finished(request: Request, reason: str, now: float) -> None:
    """The last entry of a request's timeline."""
    request.status = RequestStatus.FINISHED
    request.finish_reason = reason
    request.events.append(("finished", now))


def _set_back(shard: Shard, where: RowArray, now: float) -> list[Request]:
    """Plan these rows anew from what was accepted; what is in flight for them assumed another outcome.

    Returns requests that had to be preempted: a plan in flight let go of a page that the row would need again.
    """
    rows = shard.rows
    rows.planned_tokens[where] = rows.num_tokens[where]
    rows.planned_computed[where] = rows.computed[where]
    rows.epoch[where] += 1
    return [shard.preempt(row, now) for row in where.tolist() if not shard.sees_all(row)]
