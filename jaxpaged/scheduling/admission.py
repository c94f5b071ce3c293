"""Waiting requests move into rows: how many is decided first, then rows, pages and tables are set all at once."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import numpy as np

from jaxpaged.scheduling.arrays import IntArray, RowArray
from jaxpaged.scheduling.prefix_cache import PrefixHit
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.running import StepBuilder
from jaxpaged.scheduling.shard import Shard
from jaxpaged.scheduling.waiting import WaitingQueue


def admit_waiting(
    queue: WaitingQueue, shards: Sequence[Shard], builders: list[StepBuilder], max_num_seqs: int, now: float
) -> None:
    """Give rows to waiting requests in the order of the queue, a block at a time, until one finds no place."""
    while queue:
        block = queue.first(_most_admissions(shards, builders), sum(builder.budget for builder in builders))
        if not block:
            return
        started = _admit_block(block, shards, builders, max_num_seqs, now)
        queue.remove_all(started)
        if len(started) < len(block):
            return


def _most_admissions(shards: Sequence[Shard], builders: list[StepBuilder]) -> int:
    return sum(
        shard.num_free for shard, builder in zip(shards, builders, strict=True) if builder.budget and builder.logit_rows
    )


def _admit_block(
    block: list[Request], shards: Sequence[Shard], builders: list[StepBuilder], max_num_seqs: int, now: float
) -> list[Request]:
    """Returns those of the block that have started; a shard starts those that it is given in their order."""
    hits = [find_hits(shard, block) for shard in shards]
    started: list[Request] = []
    offers = share_out(shards, block, hits, max_num_seqs)
    for shard, builder, chosen in zip(shards, builders, offers, strict=True):
        requests = [block[index] for index in chosen]
        taken = admit(shard, builder, requests, [hits[shard.index][index] for index in chosen], now)
        started += requests[:taken]
    return started


def find_hits(shard: Shard, requests: Sequence[Request]) -> list[PrefixHit]:
    """What each request could skip on this shard."""
    if shard.hasher is None:
        return [shard.prefix.miss] * len(requests)
    return shard.prefix.match(requests)


_CHILDREN, _SCORES_PROMPT = attrgetter("children"), attrgetter("scores_prompt")


def share_out(
    shards: Sequence[Shard], block: list[Request], hits: list[list[PrefixHit]], max_num_seqs: int
) -> list[list[int]]:
    """Which requests of a block each shard is offered: indices into the block. `hits` are by shard, then by request.

    The longest cached prefix wins, then the fewest requests; but no shard runs far ahead of the emptiest one.
    """
    if len(shards) == 1:
        return [list(range(len(block)))]
    loads = [len(shard.rows) + shard.num_promised for shard in shards]
    chosen: list[list[int]] = [[] for _ in shards]
    for index, lines in enumerate(zip(*hits, strict=True)):
        most = min(min(loads) + max(max_num_seqs // 4, 1), max_num_seqs)
        roomy = [shard for shard, load in enumerate(loads) if load < most]
        if not roomy:
            break
        best = min(roomy, key=lambda shard: (-lines[shard].num_pages, loads[shard]))
        loads[best] += block[index].num_samples
        chosen[best].append(index)
    return chosen


def admit(shard: Shard, builder: StepBuilder, requests: list[Request], hits: list[PrefixHit], now: float) -> int:
    """Let the first of the requests start in this step, as many as there are rows, tokens, head rows and pages for.

    Returns how many. A request starts when the pages for all its known tokens are available, so that it is not
    preempted before its first token; only those of its first chunk are allocated.
    """
    with_children = any(map(_CHILDREN, requests))
    free = _first_with_rows(shard, requests) if with_children else shard.num_free
    requests, hits = requests[:free], hits[:free]
    kept = _child_pages(shard, requests) if with_children and requests else None
    counts = _first_chunks(shard, builder, requests, hits, kept) if requests else []
    taken = len(counts)
    if taken:
        _occupy(shard, builder, requests[:taken], hits[:taken], np.array(counts, np.int32), now)
    if with_children:
        shard.parents |= {request.row: request for request in requests[:taken] if request.children}
    return taken


def _first_with_rows(shard: Shard, requests: list[Request]) -> int:
    """How many of the first requests find free rows, their children included as far as there can be rows for them."""
    free, most = shard.num_free, len(shard.rows.requests) - 1
    for index, request in enumerate(requests):
        free -= min(request.num_samples, most)
        if free < 0:
            return index
    return len(requests)


def _first_chunks(
    shard: Shard, builder: StepBuilder, requests: list[Request], hits: list[PrefixHit], kept: list[int] | None
) -> list[int]:
    """The tokens that each of the first requests computes in this step, up to the first that does not fit.

    `kept` [n]: pages that each keeps for its children, in each group.
    """
    needs = [request.page_need for request in requests]
    behind = [len(request.tokens) for request in requests]
    for index, hit in enumerate(hits):
        if hit.num_pages:
            needs[index] = _pages_beside(shard, builder, requests[index], hit)
            behind[index] -= hit.num_pages * shard.page_size
    del behind[_first_with_pages(needs, kept, _unreserved_pages(shard, builder)) :]
    if not any(map(_SCORES_PROMPT, requests)) and builder.take_all(sum(behind), len(behind)):
        return behind
    counts: list[int] = []
    for tokens, request in zip(behind, requests, strict=False):
        count = builder.take_chunk(tokens, request.scores_prompt)
        if not count:
            break
        counts.append(count)
    return counts


def _first_with_pages(needs: list[tuple[int, ...]], kept: list[int] | None, left: list[int]) -> int:
    """How many of the first requests find what they need in the pages that are `left` per group."""
    if kept is not None:
        needs = [tuple([pages + more for pages in need]) for need, more in zip(needs, kept, strict=True)]
    if all(sum(pages) <= most for pages, most in zip(zip(*needs, strict=True), left, strict=True)):
        return len(needs)
    fits = (np.array(needs, np.int64).cumsum(axis=0) <= left).all(axis=1)
    return int(fits.argmin())


def _child_pages(shard: Shard, requests: list[Request]) -> list[int]:
    """A page in each group for every child of each request, to write to. The first on an idle shard starts without."""
    pages = [len(request.children) for request in requests]
    if not len(shard.rows):
        pages[0] = 0
    return pages


def _pages_beside(shard: Shard, builder: StepBuilder, request: Request, hit: PrefixHit) -> tuple[int, ...]:
    """Available pages that a request takes: for what the hit leaves to compute, and the idle ones that it shares."""
    needs = []
    for group, policy in enumerate(shard.policies):
        fresh = policy.fresh_pages(request.page_need[group], len(request.tokens), hit.num_pages, builder.budget)
        needs.append(fresh + shard.allocators[group].idle_among(hit.pages[group]))
    return tuple(needs)


def _unreserved_pages(shard: Shard, builder: StepBuilder) -> list[int]:
    """Available pages per group, less what this step takes and what rows in the middle of their prompts will need.

    A page for every running row, up to a hundredth of the pool, is kept back too, and one for every child that waits
    for a prompt: without them, in a full pool, requests would start only to be preempted by the next step's growth.
    """
    rows = shard.rows
    left = []
    for allocator, growth in zip(shard.allocators, builder.growths, strict=True):
        kept_back = min(len(rows), allocator.num_pages // 100)
        left.append(allocator.available - growth.num_pages - kept_back - shard.num_promised)
    if builder.catching_up or builder.admitted:
        behind = np.array(builder.catching_up + builder.admitted, np.intp)
        wanted = rows.planned_tokens[behind]
        for group, policy in enumerate(shard.policies):
            left[group] -= policy.pages_to_come(wanted, rows.end_page[group][behind])
    return left


def _occupy(
    shard: Shard,
    builder: StepBuilder,
    requests: list[Request],
    hits: list[PrefixHit],
    counts: IntArray,
    now: float,
) -> None:
    """Put requests into rows, with their cached pages; grow() adds new ones for their first chunks."""
    rows, size = shard.rows, shard.page_size
    taken = rows.occupy(requests, shard.index, now)
    if any(hit.num_pages for hit in hits):
        _share_cached(shard, taken, requests, hits)
    fresh = (counts + (size - 1)) // size
    total = int(np.add.reduce(fresh))
    for growth in builder.growths:
        growth.rows.append(taken)
        growth.counts.append(fresh)
        growth.num_pages += total
    if shard.hasher is not None:
        shard.count_queries(requests, hits)
    builder.add_chunks(taken, counts)
    builder.admitted += taken.tolist()


def _share_cached(shard: Shard, taken: RowArray, requests: list[Request], hits: list[PrefixHit]) -> None:
    """Put the pages of the hits into the page tables of the rows."""
    rows = shard.rows
    cached_pages = np.array([hit.num_pages for hit in hits], np.int32)
    rows.published[taken] = cached_pages
    rows.computed[taken] = rows.planned_computed[taken] = cached_pages * shard.page_size
    for group, allocator in enumerate(shard.allocators):
        first = np.array([hit.first_pages[group] for hit in hits], np.int32)
        counts = np.array([len(hit.pages[group]) for hit in hits], np.int32)
        pages = np.concatenate([hit.pages[group] for hit in hits])
        allocator.acquire(pages)
        rows.flat_tables[group][rows.table_index(taken, first, counts)] = pages
        rows.first_page[group][taken], rows.end_page[group][taken] = first, cached_pages
    for request, hit in zip(requests, hits, strict=True):
        if not request.num_preemptions:
            request.num_cached_tokens = hit.num_pages * shard.page_size
