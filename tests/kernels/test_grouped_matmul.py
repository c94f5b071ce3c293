"""Grouped products: against the definition, and what must not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallas_kernels.grouped_matmul import grouped_matmul, mosaic_tpu, tile_rows
from pallas_kernels.grouped_matmul.tiles import find_tiles

ROWS, GROUPS, IN, OUT = 24, 5, 16, 12


def operands(dtype: str = "float32", rows: int = ROWS) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    return (
        jnp.asarray(rng.standard_normal((rows, IN)), dtype),
        jnp.asarray(rng.standard_normal((GROUPS, OUT, IN)), dtype),
    )


product = jax.jit(grouped_matmul, static_argnames="implementation")


@st.composite
def group_sizes(draw: st.DrawFn) -> list[int]:
    """Up to ROWS rows in all, in any of the groups."""
    ends = sorted(draw(st.lists(st.integers(0, ROWS), min_size=GROUPS, max_size=GROUPS)))
    return np.diff([0, *ends]).tolist()


@settings(deadline=None, max_examples=40)
@given(group_sizes())
def test_each_row_is_multiplied_by_its_own_matrix(sizes: list[int]) -> None:
    x, w = operands()
    args = x, w, jnp.asarray(sizes, "int32")
    count = sum(sizes)
    want, got = product(*args, implementation="reference"), product(*args, implementation="xla")
    assert np.allclose(got[:count], want[:count], atol=1e-5)


@pytest.mark.parametrize("sizes", [[5, 0, 9, 3, 0], [0, 0, 0, 0, 0], [100, 0, 60, 40, 100]])
def test_the_kernel_of_a_tpu_interpreted(sizes: list[int]) -> None:
    x, w = operands(rows=300)
    args, count = (x, w, jnp.asarray(sizes, "int32")), sum(sizes)
    want, got = product(*args, implementation="reference"), mosaic_tpu.grouped_matmul(*args, interpret=True)
    assert got.shape == want.shape
    assert np.allclose(got[:count], want[:count], atol=1e-5)


@settings(deadline=None)
@given(group_sizes(), st.sampled_from([1, 2, 8, 16]))
def test_tiles_hold_every_row_once_and_rows_of_one_group(sizes: list[int], tile: int) -> None:
    tiles = find_tiles(jnp.asarray(sizes, "int32"), ROWS, tile)
    ends = np.cumsum(sizes)
    seen: list[tuple[int, int]] = []
    for group, start in zip(tiles.group[: tiles.used], tiles.start[: tiles.used], strict=True):
        seen += [(row, int(group)) for row in range(start, min(start + tile, ends[group]))]
    assert seen == [(row, group) for group in range(GROUPS) for row in range(ends[group] - sizes[group], ends[group])]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_row_does_not_depend_on_the_others(dtype: str) -> None:
    """Wherever it lies in its tile, whatever is beside it, and in programs of other sizes: the same bits."""
    x, w = operands(dtype)
    alone = product(jnp.zeros_like(x).at[0].set(x[7]), w, jnp.asarray([0, 0, 1, 0, 0]))[0]
    for before, group in ((0, 2), (3, 9), (6, 8), (20, 1)):
        sizes = jnp.asarray([0, before, group, 0, 2])
        mates = jnp.full_like(x, jnp.nan).at[before].set(x[7])
        assert np.array_equal(product(mates, w, sizes)[before], alone)
    many = jnp.zeros((400, IN), dtype).at[150].set(x[7])
    assert tile_rows(400, GROUPS) > tile_rows(ROWS, GROUPS)
    assert np.array_equal(product(many, w, jnp.asarray([0, 100, 300, 0, 0]))[150], alone)


def test_matrices_of_groups_without_rows_are_not_read() -> None:
    x, w = operands()
    sizes = jnp.asarray([0, ROWS, 0, 0, 0])
    spoiled = jnp.full_like(w, jnp.nan).at[1].set(w[1])
    assert np.array_equal(product(x, spoiled, sizes), product(x, w, sizes))


def test_the_program_multiplies_no_row_by_another_groups_matrix() -> None:
    """A loop over tiles: its body costs one tile, and nothing as large as all groups' products is ever made."""
    x, w = operands()
    compiled = product.lower(x, w, jnp.asarray([5, 5, 5, 5, 4])).compile()
    assert "while" in compiled.as_text()
    tile = tile_rows(ROWS, GROUPS)
    assert compiled.cost_analysis()["flops"] < 2 * ROWS * GROUPS * IN * OUT / 2
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * ((ROWS + tile) * (IN + 2 * OUT) + w[0].size + 4096)


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"w": jnp.zeros((GROUPS, OUT, IN + 1))}, "w: want"), ({"sizes": jnp.zeros(GROUPS + 1, "int32")}, "sizes: want")],
)
def test_wrong_arguments_are_named(changes: dict[str, jax.Array], word: str) -> None:
    x, w = operands()
    with pytest.raises(ValueError, match=word):
        grouped_matmul(**{"x": x, "w": w, "sizes": jnp.zeros(GROUPS, "int32"), **changes})
