"""The structured requests of an engine: grammars that are being compiled, and masks for the rows that run.

A mask is worked out in a thread as soon as the token before it is known. Meanwhile the sequence's row waits and the
engine plans without it, so that only the sequence itself pays for a slow grammar.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import numpy as np

from jaxpaged.errors import RequestError
from jaxpaged.scheduling.plan import ShardPlan, StepPlan
from jaxpaged.scheduling.request import Request
from jaxpaged.structured.checker import COMPILE_SECONDS, too_slow
from jaxpaged.structured.compiler import CompiledGrammar, GrammarCompiler
from jaxpaged.structured.constraint import Constraint, Mask, set_bits

MASK_THREADS = 4
GRACE = 0.002  # seconds that a step waits for masks of the step before, so that their rows stay together
IDLE = 0.01  # seconds that an engine waits when it has nothing else to do


@dataclass(slots=True, eq=False)
class _Sequence:
    """`mask` is what may follow the tokens known to the host; `waiting` until its row has been told to go on.

    `end_tokens` end it where the grammar accepts; there are none with ignore_eos, and only a whole answer ends then.
    """

    constraint: Constraint
    end_tokens: Sequence[int]
    mask: Future[Mask]
    waiting: bool = False


@dataclass(slots=True, eq=False)
class Family:
    """A request with its siblings, waiting for its grammar since `since`."""

    request: Request
    siblings: Sequence[Request]
    grammar: Future[CompiledGrammar]
    since: float


@dataclass(slots=True)
class News:
    """What the threads have brought: families to queue, families refused, rows to resume, sequences that must end."""

    compiled: list[Family] = field(default_factory=list)
    refused: list[tuple[Family, RequestError]] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    ended: list[tuple[int, Mask]] = field(default_factory=list)


@dataclass(slots=True)
class StructuredRequests:
    """Owner of grammars and masks. One thread, the engine's, calls it."""

    compiler: GrammarCompiler
    compile_seconds: float = COMPILE_SECONDS
    clock: Callable[[], float] = time.monotonic
    _families: dict[int, Family] = field(default_factory=dict)
    _sequences: dict[int, _Sequence] = field(default_factory=dict)
    _waiting: int = 0
    _fresh_until: float = 0.0
    _done: SimpleQueue[tuple[int, object]] = field(default_factory=SimpleQueue)
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(MASK_THREADS, thread_name_prefix="mask")
    )

    def __len__(self) -> int:
        """Sequences that run, or whose grammar is being compiled."""
        return len(self._sequences) + len(self._families)

    @property
    def num_compiling(self) -> int:
        return len(self._families)

    def add(self, request: Request, siblings: Sequence[Request]) -> None:
        """Compile a request's grammar; take_news() says when it may be queued."""
        params = request.params.structured_outputs
        assert params is not None
        self._wait_for(Family(request, siblings, self.compiler.submit(params), self.clock()))

    def try_again(self, family: Family) -> None:
        """There was no room in the queue for a family."""
        for request in (family.request, *family.siblings):
            self._sequences.pop(request.request_id, None)
        family.since = self.clock()
        self._wait_for(family)

    def advance(self, request_id: int, tokens: Sequence[int]) -> None:
        """Tokens of a running sequence are known: work out what may follow."""
        sequence = self._sequences.get(request_id)
        if sequence is None:
            return
        if not sequence.waiting:
            sequence.waiting = True
            self._waiting += 1
        sequence.mask = self._pool.submit(sequence.constraint.advance, tokens)
        self._fresh_until = self.clock() + GRACE
        mask = sequence.mask
        mask.add_done_callback(lambda _: self._done.put((request_id, mask)))

    def forget(self, request_ids: Iterable[int]) -> None:
        """These have ended; what is still being worked out for them is dropped."""
        for request_id in request_ids:
            sequence = self._sequences.pop(request_id, None)
            if sequence is not None and sequence.waiting:
                self._waiting -= 1
            for family in list(self._families.values()):
                self._leave(family, request_id)

    def take_news(self, *, idle: bool) -> News:
        """What is ready. Waits a moment for masks of the last step, and a longer one when the engine is `idle`."""
        news = News()
        deadline = self.clock() + IDLE if idle else self._fresh_until
        while self._waiting or self._families:
            try:
                patience = deadline - self.clock() if idle or self._waiting else 0
                key, item = self._done.get(timeout=patience) if patience > 0 else self._done.get_nowait()
            except Empty:
                break
            self._take(key, item, news)
            if idle:
                deadline = min(deadline, self._fresh_until)
        self._refuse_slow(news)
        return news

    def mask_plan(self, plan: StepPlan) -> tuple[StepPlan, list[tuple[int, Mask]]]:
        """The plan with masks, and the sequences in it that must end instead: what it says of them does not count."""
        ended: list[tuple[int, Mask]] = []
        shards = tuple(self._mask_shard(shard, ended) for shard in plan.shards)
        return StepPlan(plan.step, shards), ended

    def close(self) -> None:
        self.compiler.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _mask_shard(self, shard: ShardPlan, ended: list[tuple[int, Mask]]) -> ShardPlan:
        names = shard.request_ids[shard.samples].tolist()
        found = [(head, name, self._sequences[name]) for head, name in enumerate(names) if name in self._sequences]
        if not found:
            return shard
        masks = np.zeros((len(found), self.compiler.vocabulary.words), np.int32)
        for line, (_, name, sequence) in zip(masks, found, strict=True):
            mask = sequence.mask.result()  # known, but for a row that was preempted while it waited
            if sequence.waiting:
                sequence.waiting = False
                self._waiting -= 1
            if mask.complete or mask.error:
                ended.append((name, mask))
            line[:] = mask.words[: len(line)]
            if mask.accepting:
                set_bits(line, sequence.end_tokens, allowed=True)
        return shard.with_masks(np.array([head for head, _, _ in found], np.int32), masks)

    def _take(self, key: int, item: object, news: News) -> None:
        if isinstance(item, Family):
            if self._families.get(key) is item:
                self._take_grammar(self._families.pop(key), news)
            return
        sequence = self._sequences.get(key)
        if sequence is None or sequence.mask is not item or not sequence.waiting:
            return
        sequence.waiting = False
        self._waiting -= 1
        mask = sequence.mask.result()
        if mask.complete or mask.error:
            news.ended.append((key, mask))
        else:
            news.resumed.append(key)

    def _take_grammar(self, family: Family, news: News) -> None:
        error = family.grammar.exception()
        if isinstance(error, RequestError):
            news.refused.append((family, error))
            return
        grammar = family.grammar.result()
        for one in (family.request, *family.siblings):
            first: Future[Mask] = Future()
            first.set_result(grammar.mask)
            end_tokens = () if one.params.ignore_eos else one.eos_token_ids
            self._sequences[one.request_id] = _Sequence(grammar.start.copy(), end_tokens, first)
        news.compiled.append(family)

    def _leave(self, family: Family, request_id: int) -> None:
        """A request that is not queued yet has been aborted; the first of its siblings takes its place."""
        if family.request.request_id != request_id:
            family.siblings = [sibling for sibling in family.siblings if sibling.request_id != request_id]
            return
        del self._families[request_id]
        if family.siblings:
            leader, *others = family.siblings
            leader.prompt_embeds, leader.content_hashes = family.request.prompt_embeds, family.request.content_hashes
            self._wait_for(Family(leader, others, family.grammar, family.since))

    def _wait_for(self, family: Family) -> None:
        key = family.request.request_id
        self._families[key] = family
        family.grammar.add_done_callback(lambda _: self._done.put((key, family)))

    def _refuse_slow(self, news: News) -> None:
        if not self._families:
            return
        latest = self.clock() - self.compile_seconds
        for key in [key for key, family in self._families.items() if family.since < latest]:
            news.refused.append((self._families.pop(key), too_slow(self.compile_seconds)))
