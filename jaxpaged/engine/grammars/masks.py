"""Masks of the structured sequences that run.

A mask is worked out in a thread as soon as the token before it is known. Meanwhile the sequence's row waits and the
engine plans without it, so that only the sequence itself pays for a slow grammar.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from jaxpaged.scheduling.plan import ShardPlan
from jaxpaged.scheduling.request import Request
from jaxpaged.structured.compiler import CompiledGrammar
from jaxpaged.structured.constraint import Constraint, Mask, set_bits
from jaxpaged.structured.priority import give_way

QUICK_THREADS, SLOW_THREADS = 4, 2
SLOW_NICENESS = 10
SLOW_SECONDS = 0.02  # of computing for a mask; the next one of its sequence then waits for others of its kind only

log = logging.getLogger("jaxpaged")


@dataclass(slots=True, eq=False)
class _Sequence:
    """`mask` is what may follow the tokens known to the host; `waiting` until its row is resumed.

    `end_tokens` and `stop_tokens` end it where the grammar accepts, and only there. With ignore_eos there are none of
    the first; `stop_tokens` are those that the request names, which may be text for its grammar. `seconds` of computing
    went into the last mask.
    """

    constraint: Constraint
    end_tokens: Sequence[int]
    stop_tokens: Sequence[int]
    mask: Future[Mask]
    waiting: bool = False
    seconds: float = 0.0

    def advance(self, tokens: Sequence[int]) -> Mask:
        """In a thread: what may follow these tokens."""
        began = time.thread_time()
        mask = self.constraint.advance(tokens)
        self.seconds = time.thread_time() - began
        return mask


def mask_of(known: Future[Mask]) -> Mask:
    """The mask, waiting for it; one with an error where working it out has failed."""
    failure = known.exception()
    if failure is None:
        return known.result()
    log.error("a mask could not be worked out", exc_info=failure)
    return Mask(np.zeros(0, np.int32), error="its grammar could not be followed any further")


@dataclass(slots=True)
class SequenceMasks:
    """Owner of the sequences that run, by request id. `words` is the width of a mask in int32.

    `done` is called, in a thread, with the id and the mask of a sequence whose next mask is known.
    """

    words: int
    done: Callable[[int, Future[Mask]], None]
    num_waiting: int = 0
    _sequences: dict[int, _Sequence] = field(default_factory=dict)
    _quick: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(QUICK_THREADS, "mask"))
    _slow: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(SLOW_THREADS, "slow-mask", give_way, (SLOW_NICENESS,))
    )

    def __len__(self) -> int:
        return len(self._sequences)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._sequences

    def begin(self, request: Request, grammar: CompiledGrammar) -> None:
        """A sequence is about to be queued; the mask of its first token is the grammar's."""
        first: Future[Mask] = Future()
        first.set_result(grammar.mask)
        end_tokens = () if request.params.ignore_eos else request.eos_token_ids
        stop_tokens = request.params.stop_token_ids or ()
        self._sequences[request.request_id] = _Sequence(grammar.start.copy(), end_tokens, stop_tokens, first)

    def advance(self, request_id: int, tokens: Sequence[int]) -> None:
        """Tokens of a sequence are known: work out what may follow."""
        sequence = self._sequences[request_id]
        if not sequence.waiting:
            sequence.waiting = True
            self.num_waiting += 1
        pool = self._slow if sequence.seconds > SLOW_SECONDS else self._quick
        mask = sequence.mask = pool.submit(sequence.advance, tokens)
        mask.add_done_callback(lambda _: self.done(request_id, mask))

    def take(self, request_id: int, mask: Future[Mask]) -> bool:
        """Whether a sequence still waits for this mask; it does so no longer."""
        sequence = self._sequences.get(request_id)
        if sequence is None or sequence.mask is not mask or not sequence.waiting:
            return False
        self._go_on(sequence)
        return True

    def forget(self, request_id: int) -> None:
        """It has ended; what is still being worked out for it is dropped."""
        sequence = self._sequences.pop(request_id, None)
        if sequence is not None:
            self._go_on(sequence)

    def mask_shard(self, shard: ShardPlan, ended: list[tuple[int, Mask]]) -> ShardPlan:
        """The plan with masks for its sampled rows; those after which nothing may follow are added to `ended`."""
        owners = shard.request_ids[shard.samples].tolist()
        found = [(place, owner) for place, owner in enumerate(owners) if owner in self._sequences]
        if not found:
            return shard
        masks = np.zeros((len(found), self.words), np.int32)
        for line, (_, owner) in zip(masks, found, strict=True):
            sequence = self._sequences[owner]
            mask = mask_of(sequence.mask)  # known, but for a row that was preempted while it waited
            self._go_on(sequence)
            if mask.complete or mask.error:
                ended.append((owner, mask))
            if mask.error:
                continue
            line[:] = mask.words[: len(line)]
            set_bits(line, sequence.stop_tokens, allowed=mask.accepting)
            if mask.accepting:
                set_bits(line, sequence.end_tokens, allowed=True)
        return shard.with_masks(np.array([place for place, _ in found], np.int32), masks)

    def close(self) -> None:
        for pool in (self._quick, self._slow):
            pool.shutdown(wait=False, cancel_futures=True)

    def _go_on(self, sequence: _Sequence) -> None:
        self.num_waiting -= sequence.waiting
        sequence.waiting = False
