"""Continuous batching: which request computes which tokens in the next step, and what its results mean.

    add -> waiting queue -> schedule -> rows of a data shard -> StepPlan -> (device) -> StepResult -> commit

Several plans may be in flight. Device programs run in the order of the plans, so pages and rows that commit() frees may
be given away by the next schedule() although an earlier plan still uses them; what such a plan answers is dropped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxpaged.config import SchedulerLimits
from jaxpaged.errors import InvariantError
from jaxpaged.kv.spec import CacheGroup, page_policies
from jaxpaged.scheduling import beams
from jaxpaged.scheduling.admission import admit_waiting
from jaxpaged.scheduling.assemble import Flight, assemble
from jaxpaged.scheduling.audit import check_owners
from jaxpaged.scheduling.commit import Committed, commit_shard
from jaxpaged.scheduling.intake import Intake
from jaxpaged.scheduling.live import LiveRequests
from jaxpaged.scheduling.pins import Pins
from jaxpaged.scheduling.plan import StepPlan, StepResult
from jaxpaged.scheduling.prefix_cache import PrefixHasher
from jaxpaged.scheduling.report import scheduler_stats
from jaxpaged.scheduling.request import BeamGroup, Request
from jaxpaged.scheduling.rows import LIMIT, Rows
from jaxpaged.scheduling.running import begin_step, grow
from jaxpaged.scheduling.shard import Shard
from jaxpaged.scheduling.stats import KVStats, PageUse, SchedulerStats, StepTokens, kv_stats

SAMPLE_PAGES_EVERY = 7  # steps; prime to page sizes, so that a last page is seen at every stage of being filled


@dataclass(frozen=True, slots=True)
class StepFlight:
    """A plan that has been given out and not yet committed."""

    step: int
    shards: tuple[Flight, ...]


class Scheduler:
    """Owner of all requests between add() and their end, when they are forgotten. Not thread-safe.

    `num_pages` is per cache group, on each data shard, null page included. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        config: SchedulerLimits,
        groups: Sequence[CacheGroup],
        num_pages: Sequence[int],
        page_size: int,
        max_model_len: int,
        data_shards: int = 1,
        *,
        enable_prefix_caching: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not groups or len(groups) != len(num_pages):
            raise InvariantError(f"{len(groups)} cache groups, but page counts for {len(num_pages)}")
        self.config = config
        policies = page_policies(groups, page_size)
        self.hasher = PrefixHasher(page_size) if enable_prefix_caching else None
        rows = [Rows(config.max_num_seqs, max_model_len, page_size, len(groups)) for _ in range(data_shards)]
        self.shards = tuple(Shard(index, rows[index], policies, num_pages, self.hasher) for index in range(data_shards))
        self._intake = Intake(config, policies, tuple(num_pages), max_model_len, self.hasher)
        self._pins = Pins(self.shards, self._intake, self.hasher)
        self._live = LiveRequests(config.max_queued_requests, self.shards, self._intake, self._pins, clock)
        self.requests, self.queue = self._live.table, self._live.queue
        self._flights: deque[StepFlight] = deque()
        self._clock = clock
        self._step = 0
        self._next_sample = 0
        self.sample_pages_every = SAMPLE_PAGES_EVERY
        self._tokens_last_step = 0
        self._step_tokens = StepTokens()

    # --- requests ---

    def add(self, request: Request, children: Sequence[Request] = ()) -> None:
        """Queue a request. Its children, other samples of the same prompt, are forked from it when that is computed.

        Raises RequestError when it could never run, QueueFullError when the queue is full; nothing is queued then.
        """
        self._live.add(request, children)

    def check_room(self, promised: int = 0) -> None:
        """Raise QueueFullError when the queue is full, `promised` requests that will come included."""
        self.queue.check_room(promised)

    def add_beams(self, requests: Sequence[Request]) -> BeamGroup:
        """Queue the beams of one search over a prompt, given for each alike; the first computes it for all.

        When beams_sampled(), choose_beams() must follow or the group be ended. Errors as of add().
        """
        parent, *others = requests
        group = BeamGroup(list(requests), parent.prompt_len)
        self._intake.check_beams(group)
        for request in requests:
            request.beams = group
        self.add(parent, others)
        group.most_tokens = int(parent.row_words[LIMIT]) - parent.prompt_len
        return group

    def beams_sampled(self, group: BeamGroup) -> bool:
        """Whether the next token of every beam has been sampled: they wait for choose_beams()."""
        return beams.is_sampled(self.shards[group.members[0].shard], group)

    def choose_beams(self, group: BeamGroup, choices: Sequence[tuple[int, int]]) -> None:
        """Continue with these beams: (index of a present one, its next token) for each member of the group."""
        beams.choose(self.shards[group.members[0].shard], group, choices, self._clock())

    def end_beams(self, group: BeamGroup, reason: str) -> None:
        """End those beams of a group that have not ended by themselves."""
        for member in sorted(group.members, key=lambda member: member.parent is None):  # children before their parent
            if member.request_id in self.requests:
                self._live.end(member, reason, None)

    def fork(self, parent_id: int, child: Request) -> None:
        """Start `child` as a copy of a live request: same tokens so far, shared pages where the parent is running.

        The child's salt, adapter and content become the parent's. Without a free row it is queued like any other.
        """
        parent = self._live.get(parent_id)
        self._live.check_new(child)
        shard = self.shards[parent.shard]
        if parent.row:
            self._intake.accept_fork(parent, child, shard.rows.tokens(parent.row), shard.rows.page_digests(parent.row))
        else:
            self._intake.accept_fork(parent, child, parent.tokens, parent.page_digests)
        self._pins.check_beside(child)
        start = None
        if parent.row and not child.scores_prompt and shard.num_free:
            start = shard.resume_point(parent.row, int(shard.rows.computed[parent.row]))
        if start is not None:
            child.shard = parent.shard
            self._live.note(child, self._clock())
            shard.fork(parent.row, child, start, self._clock())
        else:
            self.queue.check_room()
            self._live.enqueue(child)

    def abort(self, request_id: int) -> None:
        """End a request at any moment; unknown and finished ids are ignored."""
        self.finish(request_id, "abort")

    def finish(self, request_id: int, reason: str, stop_reason: int | str | None = None) -> Request | None:
        """End a request for a reason that the scheduler cannot see, as a stop string. Unknown ids are ignored.

        Returns the request. A beam takes the other beams with it.
        """
        request = self.requests.get(request_id)
        if request is not None and request.beams is not None:
            self.end_beams(request.beams, reason)
        elif request is not None:
            self._live.end(request, reason, stop_reason)
        return request

    def propose(self, request_id: int, tokens: Sequence[int]) -> None:
        """Propose the next tokens of a running request; its next step verifies them if nothing of it is in flight."""
        request = self._live.get(request_id)
        if request.row:
            self.shards[request.shard].draft_tokens[request.row] = np.array(tokens, np.int32)

    def resume(self, request_id: int) -> None:
        """Let a request go on whose row waits after its last token, as structured ones do. Unknown ids are ignored."""
        request = self.requests.get(request_id)
        if request is not None and request.row:
            self.shards[request.shard].rows.resume(request.row)

    def set_waits(self, request_id: int, waits: bool) -> None:
        """Whether a running request waits after its next token, until it is preempted. Unknown ids are ignored."""
        request = self.requests.get(request_id)
        if request is not None and request.row:
            self.shards[request.shard].rows.waits[request.row] = waits

    # --- steps ---

    def has_work(self) -> bool:
        """Whether a request is unfinished or a plan uncommitted."""
        return bool(self.requests or self._flights)

    def only_waits(self) -> bool:
        """Whether to commit a plan before the next schedule(): all running requests wait for what they have sampled.

        A plan made before that commit could hold only the newest requests; the others would need one more step.
        """
        return all(shard.rows.only_wait() for shard in self.shards if shard.num_running)

    def schedule(self) -> StepPlan | None:
        """The next step, or None when nothing can be computed before an earlier plan is committed."""
        now = self._clock()
        limits = self.config.max_num_batched_tokens, self.config.max_num_seqs
        builders = [begin_step(shard, *limits, now) for shard in self.shards]
        preempted = [request for builder in builders for request in builder.preempted]
        self._live.put_back(preempted)
        if self.queue and (not preempted or all(builder.is_empty for builder in builders)):
            admit_waiting(self.queue, self.shards, builders, self.config.max_num_seqs, now)
        if all(builder.is_empty for builder in builders):
            return None
        for shard, builder in zip(self.shards, builders, strict=True):
            grow(shard, builder)
        plans, flights = zip(*map(assemble, self.shards, builders), strict=True)
        self._step += 1
        if self._step >= self._next_sample:
            self._next_sample = self._step + self.sample_pages_every
            for shard in self.shards:
                shard.sample_page_use()
        self._flights.append(StepFlight(self._step, flights))
        for shard in self.shards:
            if shard.parents:
                for samples in shard.fork_children(now):
                    self._live.enqueue_samples(samples)
        self._tokens_last_step = sum([int(np.add.reduce(plan.counts)) for plan in plans])
        self._step_tokens.note(self._tokens_last_step)
        return StepPlan(self._step, plans)

    def commit(self, plan: StepPlan, result: StepResult) -> Committed:
        """Apply the results of the oldest plan in flight. Raises InvariantError for any other plan."""
        if not self._flights or self._flights[0].step != plan.step:
            raise InvariantError(f"plan {plan.step} is not the oldest in flight: commit plans in order, once")
        flights, now = self._flights.popleft().shards, self._clock()
        commits = tuple(
            commit_shard(shard, flight, part, now)
            for shard, flight, part in zip(self.shards, flights, result.shards, strict=True)
        )
        for commit in commits:
            for request in commit.finished:
                del self.requests[request.request_id]
            self._live.put_back(commit.preempted)
        return Committed(commits)

    # --- prefix cache and holds ---

    def reset_prefix_cache(self) -> None:
        """Forget every cached prefix, pinned ones too. Digests made before never match later ones."""
        if self.hasher is None:
            return
        self._pins.release_all()
        self.hasher.weights_version += 1
        for shard in self.shards:
            shard.forget_prefixes()
        for request in self.requests.values():
            request.page_digests = b""
            self._intake.hash_pages(request)

    def pin(self, name: str, request: Request) -> int:
        """Keep the full pages of a prompt that the prefix cache knows, until unpin(name) or reset_prefix_cache().

        Returns how many tokens they hold. Raises RequestError, pinning nothing, when there is nothing to pin, when more
        than half the pool would be pinned, and when a request that is queued or running could not end beside it.
        """
        return self._pins.add(name, request, self.requests.values())

    def unpin(self, name: str) -> None:
        """Let a pinned prefix go; unknown names are ignored."""
        self._pins.release(name)

    def hold(self, name: str, request_id: int) -> None:
        """Keep the full pages of a running request alive, whatever becomes of it, until release_hold(name)."""
        self._pins.hold(name, self._live.get(request_id))

    def release_hold(self, name: str) -> None:
        self._pins.release_hold(name)

    # --- reports ---

    def stats(self) -> SchedulerStats:
        """A snapshot; costs a few microseconds."""
        steps = self._step, self._tokens_last_step, self._step_tokens
        return scheduler_stats(self.shards, len(self.requests), *steps)

    def kv_stats(self) -> KVStats:
        """Sharing and waste of pages, averaged over every `sample_pages_every`-th step since reset_kv_stats()."""
        return kv_stats([shard.page_use for shard in self.shards], self.shards[0].page_size)

    def reset_kv_stats(self) -> None:
        """Begin the averages of kv_stats() anew, with the next step."""
        self._next_sample = 0
        for shard in self.shards:
            shard.page_use = PageUse()

    def check(self) -> None:
        """Audit every owner; raises InvariantError with what is wrong."""
        check_owners(self._live, self.shards)
