"""Thoughts as an engine limits them: where one has its number of tokens, the plan allows only what ends it.

A row that is farther from its limit than plans can be ahead of it is planned as any other. Nearer, it waits for each
token, as structured ones do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import numpy as np

from jaxpaged.engine.followers import CommittedStep
from jaxpaged.engine.messages import EngineOutput
from jaxpaged.engine.thinking.thought import ThoughtProgress
from jaxpaged.scheduling.plan import ShardPlan, StepPlan
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.scheduler import Scheduler
from jaxpaged.structured.constraint import set_bits

WORD = 32  # tokens a word of a mask


class ThinkingLimits:
    """A StepFollower. It comes after grammars: what their masks forbid is not forced."""

    def __init__(self, scheduler: Scheduler, vocab_size: int, plans_in_flight: int) -> None:
        self._scheduler = scheduler
        self._words = -(-vocab_size // WORD)
        self._ahead = plans_in_flight
        self._progress: dict[int, ThoughtProgress] = {}
        self._structured: set[int] = set()  # the grammar says when these go on
        self._in_flight: Counter[int] = Counter()  # tokens that are being sampled

    def begin(self, request: Request) -> None:
        """A request has been added."""
        if request.thinking is not None:
            self._progress[request.request_id] = ThoughtProgress.of(request.thinking)
            if request.params.structured_outputs is not None:
                self._structured.add(request.request_id)

    def before_submit(self, plan: StepPlan) -> StepPlan:
        """Masks for rows that must end their thought."""
        if not self._progress:
            return plan
        self._in_flight.update(owner for shard in plan.shards for _, owner in self._limited(shard))
        return StepPlan(plan.step, tuple(map(self._mask_shard, plan.shards)))

    def after_commit(self, step: CommittedStep, outputs: list[EngineOutput]) -> list[EngineOutput]:
        """New tokens are known."""
        if self._progress:
            self._in_flight.subtract(owner for shard in step.plan.shards for _, owner in self._limited(shard))
            for output in outputs:
                if output.request_id in self._progress:
                    self._advance(output)
        return outputs

    def forget(self, request_ids: Collection[int]) -> None:
        for request_id in request_ids:
            self._progress.pop(request_id, None)
            self._structured.discard(request_id)
            self._in_flight.pop(request_id, None)

    def _advance(self, output: EngineOutput) -> None:
        progress, owner = self._progress[output.request_id], output.request_id
        progress.advance(output.new_token_ids)
        if owner in self._structured or output.finish_reason is not None:
            return
        self._scheduler.set_waits(owner, progress.free() <= self._ahead)
        if self._in_flight[owner] <= 0:
            self._scheduler.resume(owner)

    def _limited(self, shard: ShardPlan) -> Iterator[tuple[int, int]]:
        """(place among the sampled rows, request id) of rows with a limit."""
        owners = shard.request_ids[shard.samples].tolist()
        return ((place, owner) for place, owner in enumerate(owners) if owner in self._progress)

    def _mask_shard(self, shard: ShardPlan) -> ShardPlan:
        forced = [
            (place, self._progress[owner].next_forced())
            for place, owner in self._limited(shard)
            if not self._progress[owner].free()
        ]
        if not forced:
            return shard
        lines = dict(zip(shard.masked_logit_rows.tolist(), shard.masks, strict=True))
        for place, token in forced:
            only = np.zeros(self._words, np.int32)
            set_bits(only, [token], allowed=True)
            if place not in lines or _allows(lines[place], token):
                lines[place] = only
        masks = np.zeros((len(lines), self._words), np.int32)
        for row, line in zip(masks, lines.values(), strict=True):
            row[: len(line)] = line[: self._words]
        return shard.with_masks(np.array(list(lines), np.int32), masks)


def _allows(words: np.ndarray, token: int) -> bool:
    word, bit = divmod(token, WORD)
    return word < len(words) and bool(int(words[word]) >> bit & 1)
