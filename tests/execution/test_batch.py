"""A plan becomes one packed array and comes back on the device as it was meant; an index out of range is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings

from jaxpaged.errors import InvariantError
from jaxpaged.execution.batch import DeviceBatch, pack, unpack
from jaxpaged.scheduling.plan import ShardPlan, StepPlan
from tests.execution.plans import LAYOUT, LIMITS, TOKENS, Sequence, page_writes, sequences, shard_plan

UNPACK = jax.jit(lambda packed: unpack(LAYOUT, packed))
NO_WRITES = (np.zeros((0, 3), np.int32),) * 2


def batches(*shards: ShardPlan) -> list[DeviceBatch]:
    packed = pack(LAYOUT, StepPlan(1, shards))
    assert packed.shape == (len(shards), LAYOUT.size)
    return [jax.tree.map(np.asarray, UNPACK(row)) for row in packed]


def assert_tokens(batch: DeviceBatch, parts: list[Sequence]) -> None:
    at = 0
    for index, part in enumerate(parts):
        assert batch.seq_rows[index] == part.row
        assert batch.kv_lens[index] == part.start + part.count
        assert batch.cu_q_lens[index] == at
        for offset in range(part.count):
            assert batch.token_rows[at] == part.row
            assert batch.positions[at] == part.start + offset
            assert batch.given[at] == (offset < len(part.given))
            if offset < len(part.given):
                assert batch.tokens[at] == part.given[offset]
            at += 1
    assert (batch.cu_q_lens[len(parts) :] == at).all()
    for field in (batch.tokens, batch.given, batch.positions, batch.token_rows):
        assert not field[at:].any()  # the null row
    assert not batch.seq_rows[len(parts) :].any()
    assert not batch.kv_lens[len(parts) :].any()
    decodes = sum(part.count == 1 for part in parts)
    assert batch.distribution.tolist() == [decodes, decodes, len(parts)]
    assert batch.header[2] == at


def assert_heads(batch: DeviceBatch, parts: list[Sequence]) -> None:
    """Sampled sequences in order, then scored positions in order, then the null row."""
    first = np.cumsum([0, *(part.count for part in parts)])
    ends = zip(first, parts, strict=False)
    wanted = [(at + p.count - 1, p.row, p.start + p.count - 1, 1) for at, p in ends if p.sampled]
    wanted += [(first[i] + k, p.row, p.start + k, 0) for i, p in enumerate(parts) for k in p.scored]
    got = list(
        zip(batch.logits_indices, batch.logits_request_rows, batch.logits_positions, batch.logits_samples, strict=True)
    )
    assert got[: len(wanted)] == wanted
    assert not np.array(got[len(wanted) :]).any()
    assert batch.header[3] == len(wanted)


@settings(max_examples=200, deadline=None)
@given(sequences(), page_writes(), sequences(), page_writes())
def test_round_trip(
    parts: list[Sequence], writes: tuple[np.ndarray, ...], others: list[Sequence], other_writes: tuple[np.ndarray, ...]
) -> None:
    shards = [(parts, writes), (others, other_writes)]
    for batch, (parts, writes) in zip(batches(*(shard_plan(*shard) for shard in shards)), shards, strict=True):
        assert_tokens(batch, parts)
        assert_heads(batch, parts)
        for group, entries in enumerate(writes):
            expected = entries if parts else entries[:0]  # a shard without sequences writes nothing
            assert batch.page_writes[group, : len(expected)].tolist() == expected.tolist()
            assert not batch.page_writes[group, len(expected) :].any()


def good() -> ShardPlan:
    parts = [Sequence(3, 10, 1, (), True, ()), Sequence(1, 0, 5, (1, 2, 3, 4, 5), False, (0, 2))]
    writes = np.array([[3, 2, 29], [1, 12, 1]], np.int32), np.array([[1, 0, 10]], np.int32)
    return shard_plan(parts, writes)


def entry(array: np.ndarray, index: Any, value: int) -> np.ndarray:
    changed = array.copy()
    changed[index] = value
    return changed


def bad_plans() -> dict[str, ShardPlan]:
    plan = good()
    writes = plan.page_writes
    too_many = [Sequence(i % 6 + 1, 0, 1, (), True, ()) for i in range(LIMITS.max_num_seqs + 1)]
    unsampled = shard_plan([Sequence(1, 0, 5, (1, 2, 3, 4, 5), False, ())], NO_WRITES)
    long = Sequence(1, 0, TOKENS, (0,) * TOKENS, False, tuple(range(LIMITS.max_num_seqs + 1)))

    def at_row(row: int) -> ShardPlan:
        return replace(plan, rows=entry(plan.rows, 1, row))

    def written(group: int, column: int, value: int) -> ShardPlan:
        changed = list(writes)
        changed[group] = entry(writes[group], (0, column), value)
        return replace(plan, page_writes=tuple(changed))

    return {
        "the null row": at_row(0),
        "a negative row": at_row(-1),
        "a row too far": at_row(LIMITS.rows),
        "a negative start": replace(plan, starts=entry(plan.starts, 0, -1)),
        "a chunk at a negative start": replace(unsampled, starts=entry(unsampled.starts, 0, -1)),
        "past the history": replace(plan, starts=entry(plan.starts, 0, LIMITS.history - 1)),
        "no token": replace(plan, counts=entry(plan.counts, 0, 0)),
        "a negative count": replace(plan, counts=entry(plan.counts, 0, -1)),
        "more tokens than the bucket": replace(plan, counts=entry(plan.counts, 1, TOKENS)),
        "a negative token": replace(plan, tokens=entry(plan.tokens, 0, -1)),
        "a token beyond the vocabulary": replace(plan, tokens=entry(plan.tokens, 0, LIMITS.vocab_size)),
        "tokens missing": replace(plan, tokens=plan.tokens[1:]),
        "more given than there are": replace(plan, host_counts=np.array([2, 4], np.int32)),
        "negative given": replace(plan, host_counts=np.array([-1, 6], np.int32)),
        "too many sequences": shard_plan(too_many, NO_WRITES),
        "too many head rows": shard_plan([long], NO_WRITES),
        "a scored token outside the step": replace(plan, prompt_logprob_rows=np.array([[6, 1]], np.int32)),
        "a negative scored token": replace(plan, prompt_logprob_rows=np.array([[-1, 1]], np.int32)),
        "a scored row too far": replace(plan, prompt_logprob_rows=np.array([[1, LIMITS.rows]], np.int32)),
        "a negative scored row": replace(plan, prompt_logprob_rows=np.array([[1, -1]], np.int32)),
        "more decodes than sequences": replace(plan, num_decodes=3),
        "negative decodes": replace(plan, num_decodes=-1),
        "a chunk among the decodes": replace(plan, num_decodes=2),
        "a write to the null row": written(0, 0, 0),
        "a write to a row too far": written(0, 0, LIMITS.rows),
        "a negative table index": written(0, 1, -1),
        "a table index too far": written(0, 1, 13),
        "a negative page": written(1, 2, -1),
        "a page too far": written(1, 2, 11),
        "a page of the other group": written(1, 2, 29),
        "too many writes": replace(plan, page_writes=(np.tile(writes[0], (40, 1)), writes[1])),
        "a group missing": replace(plan, page_writes=writes[:1]),
    }


def test_the_plan_that_the_bad_ones_differ_from_is_good() -> None:
    assert pack(LAYOUT, StepPlan(1, (good(),))).any()


@pytest.mark.parametrize("plan", [pytest.param(plan, id=name) for name, plan in bad_plans().items()])
def test_an_index_out_of_range_is_refused(plan: ShardPlan) -> None:
    with pytest.raises(InvariantError, match="does not fit"):
        pack(LAYOUT, StepPlan(1, (ShardPlan.empty(2), plan)))


def test_a_chunk_is_refused_where_only_decodes_are_computed() -> None:
    layout = replace(LAYOUT, decodes_only=True)
    decodes = shard_plan([Sequence(3, 10, 1, (), True, ())], NO_WRITES)
    assert pack(layout, StepPlan(1, (decodes, ShardPlan.empty(2)))).any()
    with pytest.raises(InvariantError, match="does not fit"):
        pack(layout, StepPlan(1, (decodes, good())))


def test_a_shard_without_work_points_at_the_null_row() -> None:
    batch, other = batches(ShardPlan.empty(2), good())
    assert not any(field.any() for field in jax.tree.leaves(batch))
    assert other.header.tolist() == [2, 1, 6, 3]
