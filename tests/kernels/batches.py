"""Batches that tests of several implementations of paged attention share."""

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from pallas_kernels.paged_attention.example_batches import Arrays, Batch
from pallas_kernels.paged_attention.example_specs import Spec


def error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max(initial=0))


@st.composite
def lengths(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    """Decodes first, then chunks; at most 9 sequences, 72 new tokens, 24 pages of 16 each."""
    old = st.one_of(st.integers(0, 250), st.sampled_from([15, 16, 17, 63, 64, 65, 127, 128, 129]))
    singles = draw(st.lists(st.tuples(old, st.just(1)), max_size=5))
    chunks = draw(st.lists(st.tuples(old.filter(lambda n: n < 230), st.integers(1, 22)), max_size=3))
    return tuple(singles + chunks)


def with_page_table(arrays: Arrays, table: np.ndarray) -> Arrays:
    return arrays._replace(sequences=arrays.sequences._replace(page_table=jnp.asarray(table)))


def with_stale_entries(arrays: Arrays, batch: Batch, spec: Spec) -> Arrays:
    """Every entry of the page table behind a sequence's end names a free page."""
    table = np.array(arrays.sequences.page_table)
    free = np.setdiff1d(np.arange(1, batch.pages), table)[0]
    for row, pair in zip(table, batch.lengths, strict=False):
        row[-(-sum(pair) // spec.page_size) :] = free
    return with_page_table(arrays, table)


def with_a_broken_sequence(arrays: Arrays, batch: Batch, broken: int) -> tuple[Arrays, np.ndarray, np.ndarray]:
    """The new keys and values of one sequence are NaN; and the tokens of that one and of all others."""
    ends = np.cumsum([0, *(new for _, new in batch.lengths)])
    its = np.arange(ends[broken], ends[broken + 1])
    k, v = (x.at[its].set(jnp.nan) for x in (arrays.k, arrays.v))
    return arrays._replace(k=k, v=v), its, np.setdiff1d(np.arange(ends[-1]), its)
