"""Random plans that fit some limits, and what they mean, token by token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from jaxpaged.execution.batch import BatchLayout, BatchLimits
from jaxpaged.scheduling.plan import ShardPlan

LIMITS = BatchLimits(
    max_num_seqs=6, rows=7, history=50, vocab_size=90, pages=(30, 11), table_width=(13, 13), page_size=4
)
TOKENS = 24
LAYOUT = BatchLayout(TOKENS, LIMITS)


@dataclass(frozen=True)
class Sequence:
    """One sequence of a step, as a person would describe it. `given`: its first tokens, the rest are on the device."""

    row: int
    start: int
    count: int
    given: tuple[int, ...]
    sampled: bool
    scored: tuple[int, ...]  # offsets whose prompt log probabilities are wanted
    owner: int = 0  # whose it is


@st.composite
def sequences(draw: st.DrawFn) -> list[Sequence]:
    """Sequences with one token first; together at most TOKENS tokens and max_num_seqs head rows."""
    rows = draw(st.lists(st.integers(1, LIMITS.rows - 1), unique=True, max_size=LIMITS.max_num_seqs))
    made, left, logit_rows = [], TOKENS, LIMITS.max_num_seqs
    for waiting, row in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
        count = draw(st.integers(1, left - waiting))
        start = draw(st.integers(0, LIMITS.history - 1 - count))
        tokens = st.lists(st.integers(0, LIMITS.vocab_size - 1), max_size=count)
        sampled = logit_rows > 0 and draw(st.booleans())
        logit_rows -= sampled
        scored = draw(st.lists(st.integers(0, count - 1), unique=True, max_size=logit_rows).map(sorted))
        logit_rows -= len(scored)
        left -= count
        made.append(Sequence(row, start, count, tuple(draw(tokens)), sampled, tuple(scored)))
    return sorted(made, key=lambda sequence: sequence.count > 1)


@st.composite
def page_writes(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    def writes(pages: int, width: int) -> st.SearchStrategy[list[tuple[int, int, int]]]:
        entry = st.tuples(st.integers(1, LIMITS.rows - 1), st.integers(0, width - 1), st.integers(0, pages - 1))
        return st.lists(entry, max_size=LAYOUT.page_writes)

    groups = zip(LIMITS.pages, LIMITS.table_width, strict=True)
    return tuple(np.array(draw(writes(*sizes)), np.int32).reshape(-1, 3) for sizes in groups)


def shard_plan(parts: list[Sequence], writes: tuple[np.ndarray, ...]) -> ShardPlan:
    first = np.cumsum([0, *(part.count for part in parts)])
    scored = [(first[i] + offset, part.row) for i, part in enumerate(parts) for offset in part.scored]
    return ShardPlan(
        request_ids=np.array([part.owner for part in parts], np.int64),
        rows=_ints([part.row for part in parts]),
        starts=_ints([part.start for part in parts]),
        counts=_ints([part.count for part in parts]),
        host_counts=_ints([len(part.given) for part in parts]),
        tokens=_ints([token for part in parts for token in part.given]),
        samples=np.array([part.sampled for part in parts], np.bool_),
        prompt_logprob_rows=_ints(scored).reshape(-1, 2),
        page_writes=writes,
        page_copies=(np.zeros((0, 2), np.int32),) * len(writes),
        admissions=(),
        variant=0,
        num_decodes=sum(part.count == 1 for part in parts),
    )


def _ints(values: list) -> np.ndarray:
    return np.array(values, np.int32)
