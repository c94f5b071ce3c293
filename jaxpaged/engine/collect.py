"""Host side of a finished step: what the scheduler commits, and the outputs for the front end."""

from __future__ import annotations

import numpy as np

from jaxpaged.engine.messages import EngineOutput
from jaxpaged.sampling.sampler import Sampled
from jaxpaged.scheduling.commit import Committed, ShardCommit
from jaxpaged.scheduling.plan import ShardResult, StepPlan, StepResult
from jaxpaged.scheduling.request import Request


def step_result(plan: StepPlan, sampled: Sampled | None) -> StepResult:
    """What the scheduler commits: sampled tokens and whether each row's logits were finite, per scheduled sequence.

    `sampled` holds numpy arrays [data shards, head rows]; the sampled sequences come first, in order.
    """
    results = []
    for index, shard in enumerate(plan.shards):
        seqs = len(shard.rows)
        tokens, finite, empty = np.zeros((seqs, 1), np.int32), np.ones(seqs, np.bool_), np.zeros(seqs, np.bool_)
        count = int(np.count_nonzero(shard.samples))
        if sampled is not None and count:
            tokens[shard.samples, 0] = sampled.tokens[index, :count]
            finite[shard.samples] = sampled.finite[index, :count]
            empty[shard.samples] = sampled.empty[index, :count]
        results.append(ShardResult(tokens, shard.samples.astype(np.int32), finite, empty))
    return StepResult(tuple(results))


def outputs_of(committed: Committed) -> list[EngineOutput]:
    """New tokens of each request that was sampled, and how those end that end."""
    return [output for shard in committed.shards for output in _shard_outputs(shard)]


def _shard_outputs(shard: ShardCommit) -> list[EngineOutput]:
    token_lists = shard.tokens.tolist()
    if shard.tokens.shape[1] > 1 or not shard.num_tokens.all():
        token_lists = [row[:n] for row, n in zip(token_lists, shard.num_tokens.tolist(), strict=True)]
    outputs = [EngineOutput(*one) for one in zip(shard.request_ids, token_lists, strict=True)]
    for position, request in shard.begun:
        outputs[position].num_cached_tokens = request.num_cached_tokens
    for position, request in zip(shard.ended.tolist(), shard.finished, strict=True):
        finish(outputs[position], request)
    return outputs


def finish(output: EngineOutput, request: Request) -> EngineOutput:
    """Make an output the last one of a request that has ended; returns it.

    What the request's own parameters have ended says so as its stop_reason; any other error is a fault of ours.
    """
    output.finish_reason, output.stop_reason = request.finish_reason, request.stop_reason
    output.num_cached_tokens, output.events = request.num_cached_tokens, request.events
    if request.finish_reason == "error" and output.error is None and request.stop_reason is None:
        output.error = "the model produced values that are not finite for this request"
    return output
