"""Where keys and values lie in the page pool, and operations on whole pages.

A pool is one array of six axes, stacked over layers. Every layout starts with ("layer", "page"): what is done to whole
pages is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import jax

AXES = ("layer", "page", "kv", "kv_head", "slot", "head_dim")


@dataclass(frozen=True)
class PoolLayout:
    """The order of the pool's axes, a permutation of AXES. "kv" has size 2: keys, then values."""

    name: str
    axes: tuple[str, ...]

    def __post_init__(self) -> None:
        if sorted(self.axes) != sorted(AXES) or self.axes[:2] != AXES[:2]:
            raise ValueError(f"axes: {self.axes} is not a permutation of {AXES} that starts with {AXES[:2]}.")

    def shape(self, *, layers: int, pages: int, page_size: int, kv_heads: int, head_dim: int) -> tuple[int, ...]:
        """Shape of a pool of `pages` pages (the null page among them) of `page_size` tokens."""
        sizes = {"layer": layers, "page": pages, "kv": 2, "kv_head": kv_heads, "slot": page_size, "head_dim": head_dim}
        return tuple(sizes[axis] for axis in self.axes)

    def sizes(self, pool: jax.Array) -> Mapping[str, int]:
        """Size of each axis of `pool` by name."""
        return dict(zip(self.axes, pool.shape, strict=True))


HEAD_MAJOR = AXES
# K and V of a head are neighbours: together they fill the 32-bit sublanes that bfloat16 needs on a TPU.
TOKEN_MAJOR = ("layer", "page", "slot", "kv_head", "kv", "head_dim")

_LAYOUTS = MappingProxyType(
    {
        "cpu": PoolLayout("cpu", HEAD_MAJOR),
        "gpu": PoolLayout("gpu", HEAD_MAJOR),
        "tpu": PoolLayout("tpu", TOKEN_MAJOR),
    }
)


def pool_layout(backend: str) -> PoolLayout:
    """The layout that the kernels of `backend` ("cpu", "gpu", "tpu") want. Raises ValueError for any other."""
    if backend not in _LAYOUTS:
        raise ValueError(f"backend: no pool layout for {backend!r}; choose from {sorted(_LAYOUTS)}.")
    return _LAYOUTS[backend]


def read_pages(pool: jax.Array, ids: jax.Array, layout: PoolLayout) -> jax.Array:
    """Whole pages ids[k] over all layers, bit-exact: [layers, k, ...the layout's other axes]."""
    _check_rank(pool, layout)
    return pool.at[:, ids].get(mode="promise_in_bounds")


def write_pages(pool: jax.Array, ids: jax.Array, values: jax.Array, layout: PoolLayout) -> jax.Array:
    """The pool with pages ids[k] set to `values` as read_pages gives them. In place when the pool is donated."""
    _check_rank(pool, layout)
    if values.dtype != pool.dtype:
        raise ValueError(f"values: dtype {values.dtype} is not the pool's {pool.dtype}; a cast would not be bit-exact.")
    return pool.at[:, ids].set(values, mode="promise_in_bounds")


def copy_pages(pool: jax.Array, src: jax.Array, dst: jax.Array, layout: PoolLayout) -> jax.Array:
    """The pool with page src[i] copied to page dst[i]; all reads come before all writes. Pad with src = dst = 0."""
    return write_pages(pool, dst, read_pages(pool, src, layout), layout)


def _check_rank(pool: jax.Array, layout: PoolLayout) -> None:
    if pool.ndim != len(layout.axes):
        raise ValueError(f"pool: {pool.ndim} axes {pool.shape}, but layout {layout.name} has {layout.axes}.")
