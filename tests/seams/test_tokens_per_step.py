"""Tokens per step: a step may bring a request no token, one or several; draft tokens that were wrong are rolled back.

The scheduler's side, with an oracle for every token, is in tests/scheduling/test_flights.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from jaxpaged.config import SchedulerLimits
from jaxpaged.errors import InvariantError
from jaxpaged.execution.batch import pack
from jaxpaged.kv.spec import FullAttentionSpec, cache_groups
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.plan import ShardResult, StepPlan, StepResult
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.scheduler import Scheduler
from tests.execution.plans import LAYOUT


def scheduler() -> Scheduler:
    made = Scheduler(SchedulerLimits(4, 16), cache_groups([FullAttentionSpec(1, 8)]), [20], 4, 48)
    made.add(Request(1, [1, 2, 3, 4, 5], SamplingParams(max_tokens=20, ignore_eos=True)))
    return made


def commit(made: Scheduler, plan: StepPlan, tokens: list[int]) -> None:
    row = np.zeros((1, 4), np.int32)
    row[0, : len(tokens)] = tokens
    made.commit(plan, StepResult((ShardResult(row, np.array([len(tokens)], np.int32), np.ones(1, np.bool_)),)))
    made.check()


@pytest.mark.parametrize("taken", [0, 1, 2, 4])
def test_commit_takes_any_number_of_tokens(taken: int) -> None:
    """Of a step that verifies three draft tokens: positions 5..8 are computed, and as many are kept as were right."""
    made = scheduler()
    plan = made.schedule()
    assert plan is not None
    commit(made, plan, [10])
    made.propose(1, [11, 12, 13])
    plan = made.schedule()
    assert plan is not None
    (shard,) = plan.shards
    assert (shard.starts.tolist(), shard.counts.tolist(), shard.draft_counts.tolist()) == ([5], [4], [3])
    assert shard.tokens.tolist() == [10, 11, 12, 13]
    commit(made, plan, [11, 12, 13, 14][:taken])
    (rows,) = (shard.rows for shard in made.shards)
    row = made.requests[1].row
    known = [1, 2, 3, 4, 5, 10, 11, 12, 13, 14][: 6 + taken]
    assert rows.history[row, : rows.num_tokens[row]].tolist() == known
    plan = made.schedule()
    assert plan is not None
    assert plan.shards[0].starts.tolist() == [5 + taken]  # what was drafted wrongly is computed again
    assert plan.shards[0].tokens.tolist() == [known[-1]]


def test_the_runner_refuses_guesses_until_it_can_verify_them() -> None:
    """Better than to sample after a draft token as if it were a fact."""
    made = scheduler()
    plan = made.schedule()
    assert plan is not None
    commit(made, plan, [10])
    made.propose(1, [11, 12, 13])
    plan = made.schedule()
    assert plan is not None
    with pytest.raises(InvariantError, match="draft tokens"):
        pack(LAYOUT, plan)
