"""Latent attention absorbed over pages is what every head sees, and a row keeps its bits in any chunk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.layers.cache_op import LayerPages
from jaxpaged.layers.latent_attention import LatentOp
from jaxpaged.models.latent import LatentAttention
from pallas_kernels.paged_attention import Sequences

PART = LatentAttention(heads=3, kv_rank=16, nope_dim=12, rope_dim=8, value_dim=10, scale=0.4, kv_norm=None)
LENGTH, PAGE = 40, 8


def arrays(dtype: str) -> list[jax.Array]:
    """q, rows and kv_b of one sequence."""
    rng = np.random.default_rng(0)
    shapes = (LENGTH, PART.heads, PART.key_dim), (LENGTH, PART.row), (PART.heads, 22, PART.kv_rank)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


@jax.jit
def step(pool: jax.Array, sequences: Sequences, *given: jax.Array) -> tuple[jax.Array, jax.Array]:
    return LatentOp(PART).paged(LayerPages(PAGE, pool, jnp.int32(0), sequences), *given)


def paged(q: jax.Array, rows: jax.Array, kv_b: jax.Array, chunks: list[int]) -> np.ndarray:
    """Values [t, h, v] of the sequence, computed in these chunks; programs have room for 40 tokens, or 8."""
    pool, out, start = jnp.full((1, 9, PAGE, PART.row), jnp.nan, q.dtype), [], 0
    for new in chunks:
        room = LENGTH if new > 8 else 8
        mine = [jnp.zeros((room, *x.shape[1:]), x.dtype).at[:new].set(x[start : start + new]) for x in (q, rows)]
        ends = jnp.asarray([0, new, new], jnp.int32)
        table = jnp.asarray([[5, 2, 7, 1, 4], [0] * 5], jnp.int32)
        kinds = jnp.asarray([int(new == 1), 1, 1], jnp.int32)
        sequences = Sequences(table, jnp.asarray([start + new, 0], jnp.int32), ends, kinds)
        values, pool = step(pool, sequences, *mine, kv_b)
        out.append(np.asarray(values[:new].astype(jnp.float32)))
        start += new
    return np.concatenate(out)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 3e-2)])
def test_absorbed_equals_every_latent_brought_to_every_head(dtype: str, tolerance: float) -> None:
    given = arrays(dtype)
    want = np.asarray(LatentOp(PART).dense(jnp.arange(LENGTH), None, *given).astype(jnp.float32))
    got = paged(*given, [LENGTH])
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("chunks", [[1] * 40, [8] * 5, [3, 1, 12, 24], [39, 1]])
def test_chunks_change_no_bit(dtype: str, chunks: list[int]) -> None:
    given = arrays(dtype)
    np.testing.assert_array_equal(paged(*given, chunks), paged(*given, [LENGTH]))


def test_segments_of_one_call_are_strangers() -> None:
    q, rows, kv_b = arrays("float32")
    op, half = LatentOp(PART), LENGTH // 2
    positions = jnp.arange(LENGTH) % half
    together = op.dense(positions, jnp.arange(LENGTH) // half, q, rows, kv_b)
    apart = [op.dense(jnp.arange(half), None, q[i : i + half], rows[i : i + half], kv_b) for i in (0, half)]
    np.testing.assert_allclose(together, np.concatenate(apart), rtol=1e-5, atol=1e-5)
