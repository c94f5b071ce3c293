"""Pool layouts, and whole pages read, written and copied bit for bit."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pallas_kernels.paged_attention import PoolLayout, copy_pages, device_layout, pool_layout, read_pages, write_pages

BACKENDS = ["cpu", "gpu", "hopper", "tpu", "xla"]
SIZES = {"layers": 3, "pages": 6, "page_size": 4, "kv_heads": 2, "head_dim": 8}


def random_bits(backend: str) -> jax.Array:
    """A bfloat16 pool of random bits, NaN payloads and denormals among them."""
    shape = pool_layout(backend).shape(**SIZES)
    return jnp.asarray(np.random.default_rng(0).integers(0, 2**16, shape, dtype=np.uint16).view(jnp.bfloat16))


def bits(pool: jax.Array) -> np.ndarray:
    return np.asarray(pool).view(np.uint16)


@pytest.mark.parametrize(
    ("backend", "shape"),
    [
        ("cpu", (3, 6, 2, 2, 4, 8)),
        ("gpu", (3, 6, 2, 2, 4, 8)),
        ("hopper", (3, 6, 2, 2, 4, 64)),
        ("tpu", (3, 6, 2, 4, 128)),
        ("xla", (3, 6, 2, 2, 4, 8)),
    ],
)
def test_shape(backend: str, shape: tuple[int, ...]) -> None:
    layout = pool_layout(backend)
    assert layout.shape(**SIZES) == shape
    assert layout.sizes(jnp.zeros(shape))["slot"] == SIZES["page_size"]


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="backend: no pool layout for 'abacus'"):
        pool_layout("abacus")


def test_axes_must_be_a_permutation_with_layers_and_pages_first() -> None:
    for axes in (("layer", "page"), ("page", "layer", "kv", "kv_head", "slot", "head_dim")):
        with pytest.raises(ValueError, match="axes:"):
            PoolLayout("bad", axes)


@pytest.mark.parametrize("backend", BACKENDS)
def test_pages_survive_a_round_trip_bit_for_bit(backend: str) -> None:
    pool = random_bits(backend)
    ids, other = jnp.asarray([4, 1]), jnp.asarray([2, 5])
    content = jax.jit(read_pages)(pool, ids)
    moved = jax.jit(write_pages)(pool, other, content)
    assert np.array_equal(bits(content), bits(pool)[:, [4, 1]])
    assert np.array_equal(bits(moved)[:, [2, 5]], bits(pool)[:, [4, 1]])
    assert np.array_equal(bits(moved)[:, [0, 1, 3, 4]], bits(pool)[:, [0, 1, 3, 4]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_counted_pairs_are_copied_one_after_the_other(backend: str) -> None:
    pool = random_bits(backend)
    pairs = jnp.asarray([[1, 2], [2, 3], [4, 5]])
    copied = jax.jit(copy_pages)(pool, pairs, 2)
    assert np.array_equal(bits(copied), bits(pool)[:, [0, 1, 1, 1, 4, 5]])


def test_values_of_another_dtype_are_refused() -> None:
    pool = random_bits("cpu")
    with pytest.raises(ValueError, match="values: dtype float32"):
        write_pages(pool, jnp.asarray([1]), jnp.zeros(pool[:, :1].shape))


@pytest.mark.parametrize(
    ("platform", "capability", "name"),
    [
        ("cpu", None, "cpu"),
        ("gpu", "9.0", "hopper"),
        ("gpu", "8.0", "gpu"),
        ("gpu", "10.0", "gpu"),
        ("tpu", None, "tpu"),
    ],
)
def test_a_device_has_a_layout(platform: str, capability: str | None, name: str) -> None:
    device = SimpleNamespace(platform=platform, compute_capability=capability)
    assert device_layout(device).name == name
