"""Pages survive reading, writing and copying bit for bit, on every mesh, and nothing else changes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.errors import InvariantError
from jaxpaged.kv.pool import BATCH, PAGE_AXIS, KVPool, PoolGeometry
from jaxpaged.kv.spec import FullAttentionSpec, SlidingWindowSpec, cache_groups
from jaxpaged.sharding.mesh import make_mesh
from pallas_kernels.paged_attention import pool_layout

GROUPS = cache_groups([FullAttentionSpec(4, 8), SlidingWindowSpec(4, 8, 16), FullAttentionSpec(4, 8)])
PAGES = (80, 6)
MESHES = [(1, 1), (1, 4), (2, 2), (4, 2)]  # data, model


def geometry(data: int = 1, model: int = 1, dtype: str = "bfloat16", backend: str = "cpu") -> PoolGeometry:
    return PoolGeometry(GROUPS, pool_layout(backend), 4, jnp.dtype(dtype), make_mesh(model, data))


def random_bits(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Every bit pattern, NaNs with payloads and negative zeros among them."""
    raw = np.random.default_rng(0).integers(0, 256, (*shape[:-1], shape[-1] * dtype.itemsize), np.uint8)
    return raw.view(dtype)


def filled(own: PoolGeometry) -> tuple[KVPool, list[np.ndarray]]:
    pool = KVPool.allocate(own, PAGES)
    content = [random_bits(array.shape, own.dtype) for array in pool.arrays]
    return pool.with_arrays(
        tuple(map(jax.device_put, content, [array.sharding for array in own.abstract(PAGES)]))
    ), content


def bits(array: np.ndarray | jax.Array) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(array)).view(np.uint8)


def pages(own: PoolGeometry, content: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return np.take(content, ids, axis=PAGE_AXIS)


@pytest.mark.parametrize(("data", "model"), MESHES)
def test_allocation(data: int, model: int) -> None:
    own = geometry(data, model)
    pool = KVPool.allocate(own, PAGES)
    for group, (array, abstract) in enumerate(zip(pool.arrays, own.abstract(PAGES), strict=True)):
        assert (array.shape, array.dtype, array.sharding) == (abstract.shape, abstract.dtype, abstract.sharding)
        assert pool.num_pages(group) == PAGES[group]
        assert array.addressable_shards[0].data.nbytes == own.page_bytes(group) * PAGES[group]
        assert not np.asarray(array).any()
    # two layers, keys and values, 4 heads of 8, pages of 4 tokens, 2 bytes
    assert own.page_bytes(0) == 2 * 2 * (4 // model) * 8 * 4 * 2


@pytest.mark.parametrize(("data", "model"), MESHES)
def test_read_and_write_are_bit_exact(data: int, model: int) -> None:
    own = geometry(data, model)
    pool, content = filled(own)
    rng, shard = np.random.default_rng(1), data - 1
    taken = rng.permutation(np.arange(1, PAGES[0], dtype=np.int32))[: BATCH + 7]
    read = pool.read(0, taken, shard)
    np.testing.assert_array_equal(bits(read), bits(pages(own, content[0], shard * PAGES[0] + taken)))
    moved = KVPool.allocate(own, PAGES).write(0, taken, read, shard)
    np.testing.assert_array_equal(bits(moved.read(0, taken, shard)), bits(read))
    other = np.setdiff1d(np.arange(1, PAGES[0], dtype=np.int32), taken)
    assert not moved.read(0, other, shard).any()
    assert not np.asarray(moved.arrays[1]).any()


@pytest.mark.parametrize(("data", "model"), MESHES)
def test_copies_stay_in_their_shard_and_happen_in_order(data: int, model: int) -> None:
    own = geometry(data, model)
    pool, content = filled(own)
    copies = [np.array([[1, 2], [2, 3], [shard + 4, 40]], np.int32) for shard in range(data)]
    copies[0] = np.concatenate([copies[0], [[5, page] for page in range(41, 41 + BATCH // 2)]]).astype(np.int32)
    copies[-1] = copies[-1][: len(copies[-1]) if data == 1 else 2]
    expected = np.moveaxis(content[0].copy(), PAGE_AXIS, 0)
    for shard, pairs in enumerate(copies):
        for source, target in shard * PAGES[0] + pairs:
            expected[target] = expected[source]
    copied = pool.copy(0, copies)
    np.testing.assert_array_equal(bits(copied.arrays[0]), bits(np.moveaxis(expected, 0, PAGE_AXIS)))
    np.testing.assert_array_equal(bits(copied.arrays[1]), bits(content[1]))


def test_more_copies_than_one_call_takes() -> None:
    own = geometry()
    pool, content = filled(own)
    pairs = np.array([[1 + i % 7, 8 + i % 70] for i in range(2 * BATCH + 5)], np.int32)
    expected = np.moveaxis(content[0].copy(), PAGE_AXIS, 0)
    for source, target in pairs:
        expected[target] = expected[source]
    copied = pool.copy(0, [pairs])
    np.testing.assert_array_equal(bits(copied.arrays[0]), bits(np.moveaxis(expected, 0, PAGE_AXIS)))


def test_copy_is_in_place() -> None:
    pool, _ = filled(geometry())
    pool = pool.copy(0, [np.array([[1, 2]], np.int32)])  # the first call may take over a buffer of the test's
    before = pool.arrays[0].unsafe_buffer_pointer()
    assert pool.copy(0, [np.array([[3, 4]], np.int32)]).arrays[0].unsafe_buffer_pointer() == before


def test_nothing_compiles_after_warm_up() -> None:
    own = replace(geometry(2, 2), page_size=2)  # a shape that no other test has compiled for
    pool = KVPool.allocate(own, PAGES).warm_up()
    compiles: list[str] = []

    def listen(name: str, _: float, **__: str | int) -> None:
        compiles.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        three = np.array([1, 2, 3], np.int32)
        pool = pool.copy(1, [np.array([[1, 2]], np.int32), np.zeros((0, 2), np.int32)])
        pool = pool.write(0, three, pool.read(0, three, 1), 0)
        pool = KVPool.allocate(own, PAGES)  # as after sleep
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not [name for name in compiles if "compile" in name]


def test_pages_out_of_range_are_an_error_and_none_is_fine() -> None:
    pool, _ = filled(geometry())
    for bad in (-1, PAGES[1]):
        with pytest.raises(InvariantError, match="group 1"):
            pool.read(1, np.array([1, bad], np.int32))
        with pytest.raises(InvariantError, match="group 1"):
            pool.copy(1, [np.array([[1, bad]], np.int32)])
    none = np.zeros(0, np.int32)
    assert pool.read(1, none).shape[PAGE_AXIS] == 0
    pool = pool.write(1, none, pool.read(1, none)).copy(1, [np.zeros((0, 2), np.int32)])


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_layout(backend: str, dtype: str) -> None:
    own = geometry(2, 2, dtype, backend)
    pool, content = filled(own)
    ids = np.array([3, 1], np.int32)
    np.testing.assert_array_equal(bits(pool.read(0, ids, 1)), bits(pages(own, content[0], PAGES[0] + ids)))
