"""Log probabilities of sampled tokens and of prompts, for the requests that want them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from jaxpaged.engine.followers import CommittedStep
from jaxpaged.engine.messages import EngineOutput, TokenLogprobs
from jaxpaged.sampling.sampler import Sampled
from jaxpaged.scheduling.commit import ShardCommit
from jaxpaged.scheduling.plan import ShardPlan, StepPlan
from jaxpaged.scheduling.request import Request


@dataclass(slots=True)
class LogprobCollector:
    """A StepFollower: gathers prompt positions over the chunks of a prompt, and puts what is known on the outputs.

    `requests` are those that the engine has taken and that have not ended; only read.
    """

    requests: Mapping[int, Request]
    _prompts: dict[int, list[TokenLogprobs]] = field(default_factory=dict)

    def before_submit(self, plan: StepPlan) -> StepPlan:
        return plan

    def after_commit(self, step: CommittedStep, outputs: list[EngineOutput]) -> list[EngineOutput]:
        """Prompt positions go with the first sampled token."""
        sampled = step.sampled
        found: dict[int, TokenLogprobs] = {}
        if sampled is not None and sampled.logprobs is not None:
            for index, (shard, commit) in enumerate(zip(step.plan.shards, step.committed.shards, strict=True)):
                found |= self._sampled(sampled, index, shard, commit)
                self._add_prompts(sampled, index, shard, commit)
        if found or self._prompts:
            for output in outputs:
                entry = found.get(output.request_id)
                output.logprobs = None if entry is None else [entry]
                output.prompt_logprobs = self._prompts.pop(output.request_id, None)
        return outputs

    def forget(self, request_ids: Collection[int]) -> None:
        for request_id in request_ids:
            self._prompts.pop(request_id, None)

    def _sampled(self, sampled: Sampled, index: int, shard: ShardPlan, commit: ShardCommit) -> dict[int, TokenLogprobs]:
        """Of each token that was kept, where its request wants them."""
        logit_rows, found = np.cumsum(shard.samples) - 1, {}
        for request_id, sequence, kept in zip(commit.request_ids, commit.index, commit.num_tokens, strict=True):
            request = self.requests.get(request_id)
            wanted = None if request is None else request.params.num_logprobs
            if wanted is not None and kept:
                found[request_id] = _entry(sampled, (index, int(logit_rows[sequence])), wanted)
        return found

    def _add_prompts(self, sampled: Sampled, index: int, shard: ShardPlan, commit: ShardCommit) -> None:
        """A prompt's positions come in order; position 0 begins anew, for a request that was preempted midway."""
        first = int(np.count_nonzero(shard.samples))
        ends = np.cumsum(shard.counts)
        tokens = shard.prompt_logprob_rows[:, 0]
        sequences = np.searchsorted(ends, tokens, side="right")
        positions = shard.starts[sequences] + tokens - (ends - shard.counts)[sequences]
        owners, live = shard.request_ids[sequences].tolist(), commit.live[sequences].tolist()
        for offset, (request_id, position) in enumerate(zip(owners, positions.tolist(), strict=True)):
            request = self.requests.get(request_id)
            if not live[offset] or request is None or request.params.prompt_logprobs is None:
                continue
            if position == 0:
                self._prompts[request_id] = []
            entry = _entry(sampled, (index, first + offset), request.params.prompt_logprobs)
            self._prompts[request_id].append(entry)


def _entry(sampled: Sampled, where: tuple[int, int], wanted: int) -> TokenLogprobs:
    logprobs = sampled.logprobs
    assert logprobs is not None
    width = logprobs.top_ids.shape[-1]
    kept = width if wanted == -1 else min(wanted, width)
    return TokenLogprobs(
        token_id=int(logprobs.token_ids[where]),
        logprob=float(logprobs.logprobs[where]),
        rank=int(logprobs.ranks[where]),
        top_ids=logprobs.top_ids[where][:kept].tolist(),
        top_logprobs=logprobs.top_logprobs[where][:kept].tolist(),
    )
