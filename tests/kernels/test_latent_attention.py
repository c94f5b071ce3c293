"""Latent attention against the definition in float64, what it writes, and what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest

from pallas_kernels.latent_attention import latent_attention
from pallas_kernels.paged_attention.example_batches import Arrays, Batch
from tests.kernels.latent_batches import LANES, SCALE, VALUE, arrays_of, by_loops, run

TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}
# Page and block edges one less, met, one more; decodes, prompts, chunks after a prefix; padding in every direction.
EDGES = Batch(
    ((0, 1), (15, 1), (31, 1), (32, 1), (127, 1), (128, 1), (0, 33), (95, 32), (127, 3)),
    sequences=11,
    tokens=80,
    table_width=24,
    pages=120,
)
NEW = sum(new for _, new in EDGES.lengths)
BOTH = pytest.mark.parametrize("name", ["reference", "xla"])


def outputs(arrays: Arrays, name: str) -> np.ndarray:
    return np.asarray(run(arrays, name).out, np.float32)


@BOTH
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_it_is_what_the_definition_says(name: str, dtype: str) -> None:
    want = np.concatenate([by_loops(EDGES, sequence) for sequence in range(len(EDGES.lengths))])
    out = outputs(arrays_of(EDGES, dtype), name)
    assert np.abs(out[:NEW] - want).max() <= TOLERANCE[dtype] * np.abs(want).max()
    assert np.isfinite(out).all()


@BOTH
def test_rows_are_written_and_nothing_else_of_the_pool_changes(name: str) -> None:
    arrays = arrays_of(EDGES, spare=8)
    want, pool = np.array(arrays.pool), np.asarray(run(arrays, name).pool)
    table, ends = np.asarray(arrays.sequences.page_table), np.asarray(arrays.sequences.cu_q_lens)
    for sequence, (old, new) in enumerate(EDGES.lengths):
        for i in range(new):
            page, slot = table[sequence, (old + i) // 16], (old + i) % 16
            want[EDGES.layer, page, slot, :LANES] = arrays.k[ends[sequence] + i, 0]
    np.testing.assert_array_equal(pool[:, 1:], want[:, 1:])


@BOTH
def test_spare_lanes_of_a_row_change_nothing(name: str) -> None:
    np.testing.assert_allclose(outputs(arrays_of(EDGES, spare=8), name), outputs(arrays_of(EDGES), name), atol=1e-6)


@BOTH
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_free_pages_and_unwritten_slots_hold_changes_nothing(name: str, value: float) -> None:
    clean = outputs(arrays_of(EDGES), name)
    spoilt = outputs(arrays_of(Batch(**{**vars(EDGES), "fill": value})), name)
    np.testing.assert_array_equal(spoilt[:NEW], clean[:NEW])
    assert np.isfinite(spoilt).all()


def test_a_broken_sequence_keeps_its_fault_to_itself() -> None:
    arrays = arrays_of(EDGES)
    clean, first = outputs(arrays, "xla"), NEW - 3 - 32
    broken = outputs(arrays._replace(k=arrays.k.at[first : first + 32].set(jnp.nan)), "xla")
    others = np.setdiff1d(np.arange(NEW), np.arange(first, first + 32))
    np.testing.assert_array_equal(broken[others], clean[others])
    assert np.isnan(broken[first : first + 32]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q": jnp.zeros((80, LANES))}, "q: want floating"),
        ({"rows": jnp.zeros((79, LANES))}, "rows: want q's t"),
        ({"rows": jnp.zeros((80, LANES), jnp.bfloat16)}, "rows: want q's t"),
        ({"pool": jnp.zeros((2, 120, 16, LANES - 1))}, "pool: want .* of at least 24 lanes"),
        ({"layer": jnp.zeros(1, jnp.int32)}, "layer: want an integer scalar"),
        ({"value_lanes": LANES + 1}, "value_lanes: want 1 to the 24"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, object], message: str) -> None:
    arrays = arrays_of(EDGES)
    given = {"q": arrays.q, "rows": arrays.k[:, 0], "pool": arrays.pool, "layer": arrays.layer} | {
        "sequences": arrays.sequences,
        "scale": SCALE,
        "value_lanes": VALUE,
    }
    with pytest.raises(ValueError, match=message):
        latent_attention(**{**given, **changes})
