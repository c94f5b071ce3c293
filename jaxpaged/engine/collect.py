"""Host side of a finished step: what the scheduler commits, and log probabilities per request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jaxpaged.engine.messages import EngineOutput, TokenLogprobs
from jaxpaged.sampling.sampler import Sampled
from jaxpaged.scheduling.commit import Committed, ShardCommit
from jaxpaged.scheduling.plan import ShardPlan, ShardResult, StepPlan, StepResult
from jaxpaged.scheduling.request import Request


def step_result(plan: StepPlan, sampled: Sampled | None) -> StepResult:
    """What the scheduler commits: sampled tokens and whether each row's logits were finite, per scheduled sequence.

    `sampled` holds numpy arrays [data shards, head rows]; the sampled sequences come first, in order.
    """
    results = []
    for index, shard in enumerate(plan.shards):
        seqs = len(shard.rows)
        tokens, finite = np.zeros((seqs, 1), np.int32), np.ones(seqs, np.bool_)
        count = int(np.count_nonzero(shard.samples))
        if sampled is not None and count:
            tokens[shard.samples, 0] = sampled.tokens[index, :count]
            finite[shard.samples] = sampled.finite[index, :count]
        results.append(ShardResult(tokens, shard.samples.astype(np.int32), finite))
    return StepResult(tuple(results))


@dataclass(slots=True)
class LogprobCollector:
    """Gathers log probabilities of prompts over their chunks, and of sampled tokens step by step."""

    _prompts: dict[int, list[TokenLogprobs]] = field(default_factory=dict)
    _sampled: dict[int, list[TokenLogprobs]] = field(default_factory=dict)

    def forget(self, request_id: int) -> None:
        self._prompts.pop(request_id, None)

    def collect(
        self, plan: StepPlan, committed: Committed, sampled: Sampled | None, requests: Mapping[int, Request]
    ) -> None:
        """Take this step's log probabilities out of the device's answer; call once per plan, in order."""
        self._sampled.clear()
        if sampled is None or sampled.logprobs is None:
            return
        for shard_index, (shard, commit) in enumerate(zip(plan.shards, committed.shards, strict=True)):
            heads = np.cumsum(shard.samples) - 1
            for request_id, index, kept in zip(commit.request_ids, commit.index, commit.num_tokens, strict=True):
                request = requests.get(request_id)
                wanted = None if request is None else request.params.num_logprobs
                if wanted is not None and kept:
                    where = shard_index, int(heads[index])
                    self._sampled[request_id] = [_entry(sampled, where, wanted)]
            self._collect_prompts(sampled, shard_index, shard, commit, requests)

    def _collect_prompts(
        self,
        sampled: Sampled,
        shard_index: int,
        shard: ShardPlan,
        commit: ShardCommit,
        requests: Mapping[int, Request],
    ) -> None:
        """A prompt's positions come in order; position 0 begins anew, for a request that was preempted midway."""
        first = int(np.count_nonzero(shard.samples))
        ends = np.cumsum(shard.counts)
        tokens = shard.prompt_logprob_rows[:, 0]
        sequences = np.searchsorted(ends, tokens, side="right")
        positions = shard.starts[sequences] + tokens - (ends - shard.counts)[sequences]
        owners = shard.request_ids[sequences].tolist()
        lines = zip(owners, positions.tolist(), commit.live[sequences].tolist(), strict=True)
        for offset, (request_id, position, live) in enumerate(lines):
            request = requests.get(request_id)
            if not live or request is None or request.params.prompt_logprobs is None:
                continue
            if position == 0:
                self._prompts[request_id] = []
            entry = _entry(sampled, (shard_index, first + offset), request.params.prompt_logprobs)
            self._prompts[request_id].append(entry)

    def attach(self, output: EngineOutput) -> None:
        """Put what was gathered on the outputs of this step; prompt positions go with the first sampled token."""
        output.logprobs = self._sampled.get(output.request_id)
        output.prompt_logprobs = self._prompts.pop(output.request_id, None)


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
