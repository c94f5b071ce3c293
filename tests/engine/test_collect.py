"""The device's answer is matched with the plan: who was sampled, whose prompt was scored, what was dropped."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from jaxpaged.engine.collect import step_result
from jaxpaged.engine.followers import CommittedStep
from jaxpaged.engine.logprobs import LogprobCollector
from jaxpaged.engine.messages import EngineOutput
from jaxpaged.sampling.logprobs import SampledLogprobs
from jaxpaged.sampling.sampler import Sampled
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.commit import Committed
from jaxpaged.scheduling.plan import ShardPlan, StepPlan
from jaxpaged.scheduling.request import Request
from tests.execution.plans import Sequence, shard_plan

NO_WRITES = (np.zeros((0, 3), np.int32),) * 2


def plan_of(*shards: list[Sequence]) -> StepPlan:
    return StepPlan(1, tuple(shard_plan(parts, NO_WRITES) if parts else ShardPlan.empty(2) for parts in shards))


def sampled(shards: int, heads: int, *, top: int = 2) -> Sampled:
    """Head row h of shard d has token 100 d + h, log probability -h and finite unless h is 3."""
    token = 100 * np.arange(shards)[:, None] + np.arange(heads)
    logprobs = SampledLogprobs(
        token, -np.tile(np.arange(heads), (shards, 1)).astype(np.float32), token + 1,
        token[..., None] + np.arange(top), -np.ones((shards, heads, top), np.float32),
    )  # fmt: skip
    finite = np.tile(np.arange(heads) != 3, (shards, 1))
    return Sampled(token.astype(np.int32), finite, np.zeros_like(finite), logprobs)  # type: ignore[arg-type]


def test_sampled_tokens_go_to_the_sequences_that_were_sampled() -> None:
    plan = plan_of(
        [],
        [Sequence(4, 9, 1, (), True, ()), Sequence(2, 0, 3, (1, 1, 1), False, ()), Sequence(1, 0, 5, (1,), True, ())],
        [Sequence(i, 9, 1, (), True, ()) for i in range(1, 6)],
    )
    empty, mixed, decodes = step_result(plan, sampled(3, 8)).shards
    assert empty.tokens.shape == (0, 1)
    assert mixed.tokens.tolist() == [[100], [0], [101]]
    assert mixed.num_tokens.tolist() == [1, 0, 1]
    assert mixed.finite.tolist() == [True, True, True]
    assert decodes.tokens[:, 0].tolist() == [200, 201, 202, 203, 204]
    assert decodes.finite.tolist() == [True, True, True, False, True]


def test_a_step_that_samples_nothing() -> None:
    (shard,) = step_result(plan_of([Sequence(2, 0, 3, (1, 1, 1), False, ())]), None).shards
    assert shard.num_tokens.tolist() == [0]
    assert shard.finite.all()


A, B = 1, 2


class Collecting:
    """A collector with the requests A (row 1) and B (row 2), both scored, as an engine feeds it."""

    def __init__(self) -> None:
        params = SamplingParams(prompt_logprobs=1, logprobs=0)
        self.requests = {name: Request(name, [1] * 9, params) for name in (A, B)}
        self.collector = LogprobCollector(self.requests)

    def step(self, parts: list[Sequence], live: list[bool], names: list[int]) -> list[EngineOutput]:
        """A step that brings the requests `names` a token each."""
        plan = self.collector.before_submit(plan_of(parts))
        return self.commit(plan, live, names)

    def commit(self, plan: StepPlan, live: list[bool], names: list[int]) -> list[EngineOutput]:
        (shard,) = plan.shards
        index = shard.samples.nonzero()[0]
        commit: Any = SimpleNamespace(
            live=np.array(live), request_ids=names, index=index, num_tokens=np.ones(len(index), np.int32), finished=()
        )
        step = CommittedStep(plan, sampled(1, 8), Committed((commit,)))
        return self.collector.after_commit(step, [EngineOutput(name, [0]) for name in names])


def entries(output: EngineOutput) -> list[int]:
    return [entry.token_id for entry in output.prompt_logprobs or []]


def test_prompt_entries_follow_the_sampled_rows_and_are_gathered_over_chunks() -> None:
    made = Collecting()
    (b,) = made.step(
        [Sequence(1, 0, 3, (), False, (0, 1, 2), A), Sequence(2, 0, 2, (), True, (0,), B)], [True, True], [B]
    )
    assert entries(b) == [4]
    assert [entry.token_id for entry in b.logprobs or []] == [0]
    (a,) = made.step([Sequence(1, 3, 3, (), True, (0, 1), A)], [True], [A])
    assert entries(a) == [1, 2, 3, 1, 2]
    assert (a.prompt_logprobs or [])[0].top_ids == [1]
    assert (a.logprobs or [])[0].top_ids == []
    (later,) = made.step([Sequence(1, 6, 1, (), True, (), A)], [True], [A])
    assert later.prompt_logprobs is None  # sent once


def test_a_prompt_that_starts_again_is_gathered_again() -> None:
    made = Collecting()
    made.step([Sequence(1, 0, 3, (), False, (0, 1, 2), A)], [True], [])
    made.step([Sequence(1, 0, 2, (), False, (0, 1), A)], [True], [])
    (output,) = made.step([Sequence(1, 2, 1, (), True, (), A)], [True], [A])
    assert entries(output) == [0, 1]


def test_results_of_a_request_that_left_are_dropped() -> None:
    made = Collecting()
    stale = plan_of([Sequence(1, 0, 3, (), False, (0, 1, 2), A)])
    made.collector.forget([A])  # aborted; then another request comes under the same name
    made.requests[A] = replace(made.requests[A])
    made.commit(stale, [False], [])
    (output,) = made.step([Sequence(1, 0, 2, (), True, (0,), A)], [True], [A])
    assert entries(output) == [1]


def test_owners_are_those_of_the_plan() -> None:
    """Row 1 has been another's before."""
    made = Collecting()
    (a,) = made.step([Sequence(1, 0, 3, (), True, (0, 1), A)], [True], [A])
    (b,) = made.step([Sequence(1, 0, 2, (), True, (0,), B)], [True], [B])
    assert (entries(a), entries(b)) == ([1, 2], [1])
