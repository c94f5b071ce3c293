"""Bitwise: a token's latent attention depends on its own sequence only, not on how or with whom it is computed."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

from pallas_kernels.paged_attention.example_batches import Batch
from tests.kernels.latent_batches import arrays_of, run

LENGTH = 260  # three blocks of rows, the last nearly empty
OURS = 1000  # seed of the sequence that is followed; its batch mates have others
DTYPES = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])


def rows_of(dtype: str, pairs: list[tuple[int, int]], ours: int, **shape: int) -> np.ndarray:
    """Outputs [new, h, value lanes] of the followed sequence at place `ours` of a batch of (old, new) pairs."""
    seeds = [OURS if i == ours else i for i in range(len(pairs))]
    out = run(arrays_of(Batch(tuple(pairs), seed=ours, **shape), dtype, seeds)).out
    first = sum(new for _, new in pairs[:ours])
    return np.asarray(out.astype(jnp.float32))[first : first + pairs[ours][1]]


@cache
def in_one_chunk(dtype: str) -> np.ndarray:
    return rows_of(dtype, [(0, LENGTH)], 0, sequences=4, tokens=LENGTH, pages=80, table_width=34)


@DTYPES
def test_decoding_equals_a_chunk(dtype: str) -> None:
    shape = {"sequences": 4, "tokens": 8, "pages": 80, "table_width": 34}
    for position in (0, 1, 31, 32, 127, 128, 129, 255, 256, LENGTH - 1):
        got = rows_of(dtype, [(position, 1)], 0, **shape)
        assert np.array_equal(got[0], in_one_chunk(dtype)[position]), position


@DTYPES
def test_chunking_changes_nothing(dtype: str) -> None:
    shape = {"sequences": 6, "tokens": 96, "pages": 200, "table_width": 40}
    for start, new in ((0, 96), (96, 33), (129, 2), (131, 90), (221, 39)):
        got = rows_of(dtype, [(start, new)], 0, **shape)
        assert np.array_equal(got, in_one_chunk(dtype)[start : start + new]), start


@DTYPES
def test_batch_mates_and_order_change_nothing(dtype: str) -> None:
    want = in_one_chunk(dtype)
    shape = {"sequences": 70, "tokens": 128, "pages": 1700, "table_width": 40}
    mates = [(7 * i % 256, 1) for i in range(40)]
    for place in (0, 17, 40):
        got = rows_of(dtype, [*mates[:place], (200, 1), *mates[place:], (3, 40)], place, **shape)
        assert np.array_equal(got[0], want[200]), place
    for pairs, place in (([(0, 30), (150, 50)], 1), ([(9, 1), (150, 50), (70, 33)], 1)):
        got = rows_of(dtype, pairs, place, **shape)
        assert np.array_equal(got, want[150:200]), pairs
