"""No index of a packed plan leaves its array on the device, seen by checkify: there it would be clamped or dropped."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax.experimental import checkify
from jaxtyping import Array, Int32

from jaxpaged.execution.batch import pack, unpack
from jaxpaged.execution.step import DeviceRows, LogitRows, _gather_rows, _prepare, _write_sampled
from jaxpaged.scheduling.plan import StepPlan
from tests.execution.plans import LAYOUT, LIMITS, TOKENS, Sequence, page_writes, sequences, shard_plan

PARTS = [
    Sequence(6, 48, 1, (89,), True, ()),
    Sequence(1, 0, 1, (), True, ()),
    Sequence(2, 27, 22, (1, 2, 3), True, (0, 21)),
]
WRITES = (np.array([[6, 12, 29], [1, 0, 0]], np.int32), np.array([[1, 12, 10]], np.int32))


def on_the_device(packed: Int32[Array, " k"]) -> Array:
    """What a step does with the indices that it is given, attention aside."""
    history = jnp.zeros((LIMITS.rows, LIMITS.history), jnp.int32)
    tables = tuple(jnp.zeros((LIMITS.rows, width), jnp.int32) for width in LIMITS.table_width)
    batch = unpack(LAYOUT, packed)
    rows, prepared = _prepare(DeviceRows(history, tables), batch)
    pages = [
        jnp.zeros(count, jnp.int32)[table] for count, table in zip(LIMITS.pages, prepared.page_tables, strict=True)
    ]
    hidden = jnp.zeros(LAYOUT.tokens, jnp.int32)[batch.logits_indices]
    logit_rows = LogitRows(batch.logits_request_rows, batch.logits_positions, batch.logits_samples)
    state, _, _ = _gather_rows(jnp.zeros(LIMITS.rows, jnp.int32), rows.history, logit_rows)
    written = _write_sampled(rows.history, logit_rows, batch.logits_request_rows)
    return jnp.sum(pages[0]) + jnp.sum(pages[1]) + jnp.sum(hidden) + jnp.sum(state) + jnp.sum(written)


CHECKED = jax.jit(checkify.checkify(on_the_device, errors=checkify.index_checks))


def problem(packed: np.ndarray) -> str | None:
    return CHECKED(packed)[0].get()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(parts=sequences(), writes=page_writes())
def test_whatever_pack_accepts_stays_inside(parts: list[Sequence], writes: tuple[np.ndarray, ...]) -> None:
    assert problem(pack(LAYOUT, StepPlan(1, (shard_plan(parts, writes),)))[0]) is None


@pytest.mark.parametrize(
    ("field", "at", "value"),
    [
        ("token_rows", 0, LIMITS.rows),
        ("positions", 3, LIMITS.history),
        ("seq_rows", 1, LIMITS.rows),
        ("logits_indices", 2, TOKENS),
        ("logits_request_rows", 0, LIMITS.rows),
        ("page_writes", 0, LIMITS.rows),
        ("page_writes", 1, LIMITS.table_width[0]),
        ("page_writes", 2, LIMITS.pages[0]),
    ],
)
def test_an_index_that_pack_would_refuse_is_seen(field: str, at: int, value: int) -> None:
    """What the check is worth: one index that is one too large."""
    packed = pack(LAYOUT, StepPlan(1, (shard_plan(PARTS, WRITES),)))[0]
    assert problem(packed) is None
    LAYOUT.views(packed)[field][at] = value
    assert "out-of-bounds" in (problem(packed) or "")
