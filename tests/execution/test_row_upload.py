"""A row's first upload comes back bit for bit, floats and unsigned integers included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpaged.errors import InvariantError
from jaxpaged.execution.row_upload import AdmissionLayout
from jaxpaged.sampling.sampler import Sampler
from jaxpaged.sampling_params import SamplingParams
from tests.execution.plans import LIMITS

STATE = {
    "count": jnp.zeros((7,), jnp.int32),
    "words": jnp.zeros((7, 2), jnp.uint32),
    "floats": jnp.zeros((7, 2, 3), jnp.float32),
    "flag": jnp.zeros((7,), jnp.bool_),
    "small": jnp.zeros((7, 4), jnp.int8),
}
LAYOUT = AdmissionLayout.of(LIMITS.table_width, STATE)
UNPACK = jax.jit(LAYOUT.unpack)

int32s = st.integers(-(2**31), 2**31 - 1)
row_states = st.fixed_dictionaries(
    {
        "count": int32s.map(np.int32),
        "words": st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=2).map(lambda x: np.array(x, np.uint32)),
        "floats": st.lists(st.floats(width=32), min_size=6, max_size=6).map(
            lambda x: np.array(x, np.float32).reshape(2, 3)
        ),
        "flag": st.booleans().map(np.bool_),
        "small": st.lists(st.integers(-128, 127), min_size=4, max_size=4).map(lambda x: np.array(x, np.int8)),
    }
)
page_tables = st.tuples(
    *(
        st.lists(st.integers(0, pages - 1), max_size=width).map(lambda ids: np.array(ids, np.int32))
        for pages, width in zip(LIMITS.pages, LIMITS.table_width, strict=True)
    )
)


def pack(layout: AdmissionLayout, admissions: Sequence[tuple[int, Any, Any]], slots: int = 1) -> np.ndarray:
    """Admissions (row, page tables, state of one row), written together: int32 [slots, size]."""
    rows, pages, states = zip(*admissions, strict=True)
    packed = np.zeros((slots, layout.size), np.int32)
    layout.pack(rows, pages, jax.tree.map(lambda *leaves: np.stack(leaves), *states), packed)
    return packed


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), page_tables, row_states), min_size=3, max_size=3))
def test_round_trip(admissions: list[tuple[int, tuple[np.ndarray, ...], dict[str, Any]]]) -> None:
    packed = pack(LAYOUT, admissions, slots=4)
    assert not packed[3].any()
    LAYOUT.check(packed, LIMITS)
    rows, tables, states = UNPACK(packed)
    for slot, (row, pages, state) in enumerate(admissions):
        assert rows[slot] == row
        for table, ids in zip(tables, pages, strict=True):
            assert table[slot, : len(ids)].tolist() == ids.tolist()
            assert not np.asarray(table[slot, len(ids) :]).any()  # the null page
        for name, want in state.items():
            got = np.asarray(states[name][slot])
            assert got.dtype == want.dtype
            assert got.tobytes() == want.tobytes(), name  # NaN and -0.0 too


asked = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.7, 1.3]),
    top_p=st.sampled_from([1.0, 0.3]),
    top_k=st.sampled_from([-1, 0, 5]),
    min_tokens=st.sampled_from([0, 0, 3]),
    frequency_penalty=st.sampled_from([0.0, 0.0, 0.5]),
    logit_bias=st.sampled_from([None, {3: -1.5}]),
    stop_token_ids=st.sampled_from([None, [4, 5]]),
    allowed_token_ids=st.sampled_from([None, [1, 3, 5]]),
    logprob_token_ids=st.sampled_from([None, [7], [2, 9]]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(asked, st.integers(1, 40), st.integers(0, 2**64 - 1), st.just((2,))), min_size=1, max_size=8))
def test_rows_that_are_encoded_together_are_those_encoded_alone(requests: list[tuple[Any, ...]]) -> None:
    sampler = Sampler(90)
    together = sampler.encode_rows(*zip(*requests, strict=True))
    for index, request in enumerate(requests):
        alone = sampler.encode_row(*request)
        for want, got in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            assert np.asarray(got[index]).tobytes() == np.asarray(want).tobytes()
            assert got.dtype == np.asarray(want).dtype


def test_a_real_sampler_row() -> None:
    sampler = Sampler(90)
    layout = AdmissionLayout.of(LIMITS.table_width, jax.eval_shape(lambda: sampler.init_rows(LIMITS.rows)))
    params = SamplingParams(
        temperature=0.7, top_p=0.9, min_p=0.05, logit_bias={3: -1.5}, stop_token_ids=[4], min_tokens=2,
        frequency_penalty=0.3, allowed_token_ids=[1, 3, 5], bad_words=["x"], _bad_words_token_ids=[[1, 2]],
    )  # fmt: skip
    row = sampler.encode_row(params, 17, 2**40 + 5, (2,))
    packed = pack(layout, [(3, (np.array([1, 2], np.int32),) * 2, row)])
    _, _, state = jax.jit(layout.unpack)(packed)
    for want, got in zip(jax.tree.leaves(row), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(np.asarray(got)[0], want)
    assert jax.tree.structure(state) == jax.tree.structure(row)


@pytest.mark.parametrize(
    ("row", "page"), [(-1, 0), (LIMITS.rows, 0), (1, -1), (1, LIMITS.pages[1]), (1, LIMITS.pages[0])]
)
def test_an_index_out_of_range_is_refused(row: int, page: int) -> None:
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape[1:], leaf.dtype), STATE)
    good, wrong = (np.array([1], np.int32),) * 2, (np.array([1], np.int32), np.array([0, page], np.int32))
    packed = np.stack([pack(LAYOUT, [(1, good, state)]), pack(LAYOUT, [(row, wrong, state)])])
    with pytest.raises(InvariantError, match="out of range"):
        LAYOUT.check(packed, LIMITS)


def test_a_page_table_that_is_too_long_is_refused() -> None:
    """It would run into the next field."""
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape[1:], leaf.dtype), STATE)
    long = np.ones(LIMITS.table_width[0] + 1, np.int32)
    with pytest.raises(InvariantError, match="14 entries"):
        pack(LAYOUT, [(1, (long, long[:1]), state)])
