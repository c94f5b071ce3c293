"""A plan is a value: another host can run it from its bytes."""

import msgspec
import numpy as np
import pytest

from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.plan import Admission, ShardPlan, StepPlan
from jaxpaged.scheduling.plan_wire import decode_plan, encode_plan


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def test_a_plan_survives_the_wire() -> None:
    params = SamplingParams(max_tokens=7, temperature=0.5, stop_token_ids=[3], seed=2**40)
    embeds = np.arange(6, dtype=np.float32).reshape(2, 3)
    shard = ShardPlan(
        request_ids=np.array([2**40, 7]),
        rows=ints(2, 1),
        starts=ints(5, 0),
        counts=ints(1, 3),
        host_counts=ints(0, 3),
        tokens=ints(7, 8, 9),
        samples=np.array([True, False]),
        prompt_logprob_rows=ints(1, 1, 2, 1).reshape(2, 2),
        page_writes=(ints(2, 1, 9).reshape(1, 3), np.zeros((0, 3), np.int32)),
        page_copies=(np.zeros((0, 2), np.int32), ints(3, 4).reshape(1, 2)),
        admissions=(Admission(1, 7, params, 3, 2**63 - 1, (ints(4), ints(0, 5)), ints(), embeds),),
        variant=2,
        num_decodes=1,
    )
    plan = StepPlan(12, (shard, ShardPlan.empty(2)))
    back = decode_plan(encode_plan(plan))
    assert back.step == 12
    for ours, theirs in zip(plan.shards, back.shards, strict=True):
        for name in ShardPlan.__slots__:
            _assert_same(getattr(ours, name), getattr(theirs, name))


def _assert_same(ours: object, theirs: object) -> None:
    if isinstance(ours, np.ndarray):
        assert isinstance(theirs, np.ndarray)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert (ours == theirs).all()
    elif isinstance(ours, Admission):
        assert isinstance(theirs, Admission)
        for name in Admission._fields:
            _assert_same(getattr(ours, name), getattr(theirs, name))
    elif isinstance(ours, tuple):
        assert isinstance(theirs, tuple)
        for a, b in zip(ours, theirs, strict=True):
            _assert_same(a, b)
    else:
        assert ours == theirs


def test_anything_else_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_plan(msgspec.msgpack.encode({"step": "one", "shards": []}))
