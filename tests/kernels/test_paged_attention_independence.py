"""Bitwise: a query token's result depends on its own sequence only, not on how or with whom it is computed."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pallas_kernels.paged_attention import paged_attention, pool_layout
from pallas_kernels.paged_attention.example_batches import Batch, assemble, sequence_contents
from pallas_kernels.paged_attention.example_specs import BY_NAME, Spec

CPU = pool_layout("cpu")
LENGTH = 260  # three blocks of keys, the last nearly empty
OURS = 1000  # seed of the sequence that is followed; its batch mates have others
# Grouped, single query heads (rows of a dot are padded), and every score option; float32 sums as well as bfloat16.
CASES = [
    (BY_NAME["smol135"], "bfloat16"),
    (BY_NAME["smol135"], "float32"),
    (BY_NAME["mha_page8"], "bfloat16"),
    (BY_NAME["all_at_once"], "float32"),
    pytest.param(BY_NAME["mha_page8"], "float32", marks=pytest.mark.matrix),
    pytest.param(BY_NAME["all_at_once"], "bfloat16", marks=pytest.mark.matrix),
]


@cache
def program(spec: Spec):
    return jax.jit(partial(paged_attention, score=spec.score, layout=CPU, implementation="xla"))


def rows_of(spec: Spec, dtype: str, pairs: list[tuple[int, int]], ours: int, **shape: int) -> np.ndarray:
    """Outputs [new, hq, d] of the followed sequence at place `ours` of a batch of (old, new) pairs."""
    seeds = [OURS if i == ours else i for i in range(len(pairs))]
    drawn = [sequence_contents(spec, seed, sum(pair)) for seed, pair in zip(seeds, pairs, strict=True)]
    arrays = assemble(spec, Batch(tuple(pairs), seed=ours, **shape), drawn, CPU, jnp.dtype(dtype))
    out = program(spec)(*arrays.args, **arrays.options).out
    first = sum(new for _, new in pairs[:ours])
    return np.asarray(out.astype(jnp.float32))[first : first + pairs[ours][1]]


@cache
def in_one_chunk(spec: Spec, dtype: str) -> np.ndarray:
    return rows_of(spec, dtype, [(0, LENGTH)], 0, sequences=4, tokens=LENGTH, pages=80, table_width=34)


@pytest.mark.parametrize(("spec", "dtype"), CASES, ids=lambda x: getattr(x, "name", x))
def test_decoding_equals_a_chunk(spec: Spec, dtype: str) -> None:
    want = in_one_chunk(spec, dtype)
    shape = {"sequences": 4, "tokens": 8, "pages": 80, "table_width": 34}
    for position in (0, 1, 31, 32, 127, 128, 129, 255, 256, LENGTH - 1):
        got = rows_of(spec, dtype, [(position, 1)], 0, **shape)
        assert np.array_equal(got[0], want[position]), position


@pytest.mark.parametrize(("spec", "dtype"), CASES, ids=lambda x: getattr(x, "name", x))
def test_chunking_changes_nothing(spec: Spec, dtype: str) -> None:
    want = in_one_chunk(spec, dtype)
    shape = {"sequences": 6, "tokens": 96, "pages": 200, "table_width": 40}
    for start, new in ((0, 96), (96, 33), (129, 2), (131, 90), (221, 39)):
        got = rows_of(spec, dtype, [(start, new)], 0, **shape)
        assert np.array_equal(got, want[start : start + new]), start


@pytest.mark.parametrize(("spec", "dtype"), CASES, ids=lambda x: getattr(x, "name", x))
def test_batch_mates_and_order_change_nothing(spec: Spec, dtype: str) -> None:
    want = in_one_chunk(spec, dtype)
    shape = {"sequences": 70, "tokens": 128, "pages": 1700, "table_width": 40}
    mates = [(7 * i % 256, 1) for i in range(40)]
    for place in (0, 17, 40):
        got = rows_of(spec, dtype, [*mates[:place], (200, 1), *mates[place:], (3, 40)], place, **shape)
        assert np.array_equal(got[0], want[200]), place
    for pairs, place in (([(0, 30), (150, 50)], 1), ([(9, 1), (150, 50), (70, 33)], 1)):
        got = rows_of(spec, dtype, pairs, place, **shape)
        assert np.array_equal(got, want[150:200]), pairs
