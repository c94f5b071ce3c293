"""Where keys and values lie in the page pool, and operations on whole pages.

A pool is one array, stacked over layers. Every layout starts with ("layer", "page"): what is done to whole pages is
the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax import lax

AXES = ("layer", "page", "kv", "kv_head", "slot", "head_dim")
# A slot's key and value in one row of a TPU's 128 lanes, or of a multiple of them.
FUSED_AXES = ("layer", "page", "kv_head", "slot", "head_dim")
LANES = 128
WGMMA_ROWS = 64  # of a Hopper matrix product, which a head's values are when they stand on the left


@dataclass(frozen=True)
class PoolLayout:
    """The order of the pool's axes: a permutation of AXES ("kv" has size 2: keys, then values), or FUSED_AXES.

    Fused, the last axis holds a key, zeros up to half of the row, a value, and zeros: `row_half` lanes each. Otherwise
    keys and values are padded with zeros to a multiple of `head_multiple`.
    """

    name: str
    axes: tuple[str, ...]
    head_multiple: int = 1

    def __post_init__(self) -> None:
        if self.axes != FUSED_AXES and (sorted(self.axes) != sorted(AXES) or self.axes[:2] != AXES[:2]):
            raise ValueError(f"axes: {self.axes} is not a permutation of {AXES} that starts with {AXES[:2]}.")

    @property
    def fused(self) -> bool:
        return self.axes == FUSED_AXES

    def shape(self, *, layers: int, pages: int, page_size: int, kv_heads: int, head_dim: int) -> tuple[int, ...]:
        """Shape of a pool of `pages` pages (the null page among them) of `page_size` tokens."""
        row = 2 * row_half(head_dim) if self.fused else head_dim + -head_dim % self.head_multiple
        sizes = {"layer": layers, "page": pages, "kv": 2, "kv_head": kv_heads, "slot": page_size, "head_dim": row}
        return tuple(sizes[axis] for axis in self.axes)

    def row_lanes(self, lanes: int) -> int:
        """Lanes that a row of a token, without heads, is stored in: whole registers on a TPU."""
        return -(-lanes // LANES) * LANES if self.fused else lanes

    def sizes(self, pool: jax.Array) -> Mapping[str, int]:
        """Size of each axis of `pool` by name."""
        return dict(zip(self.axes, pool.shape, strict=True))

    def split(self, pages: jax.Array, head_dim: int) -> jax.Array:
        """[n, ...the axes of a page] -> [n, 2, kv_heads, slots, head_dim]."""
        if self.fused:
            half = pages.shape[-1] // 2
            return jnp.stack([pages[..., :head_dim], pages[..., half : half + head_dim]], axis=1)
        rest = self.axes[2:]
        order = (rest.index(axis) for axis in ("kv", "kv_head", "slot", "head_dim"))
        return pages.transpose(0, *(1 + axis for axis in order))[..., :head_dim]

    def join(self, kv: jax.Array) -> jax.Array:
        """The inverse of split()."""
        if self.fused:
            return fuse(kv[:, 0], kv[:, 1])
        kv = pad_heads(kv, self.head_multiple)
        return kv.transpose(0, *(1 + ("kv", "kv_head", "slot", "head_dim").index(axis) for axis in self.axes[2:]))


def row_half(head_dim: int) -> int:
    """Lanes of a key, and of a value, in a fused row: whole registers, or two halves of one."""
    return LANES // 2 if head_dim <= LANES // 2 else -(-head_dim // LANES) * LANES


def pad_heads(x: jax.Array, multiple: int) -> jax.Array:
    """[..., d] with zeros up to a multiple of `multiple`."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % multiple)]) if x.shape[-1] % multiple else x


def fuse(k: jax.Array, v: jax.Array) -> jax.Array:
    """Keys and values [..., d] -> fused rows [..., 2 * row_half(d)]."""
    padding = [(0, 0)] * (k.ndim - 1) + [(0, row_half(k.shape[-1]) - k.shape[-1])]
    return jnp.concatenate([jnp.pad(k, padding), jnp.pad(v, padding)], axis=-1)


_LAYOUTS = MappingProxyType(
    {
        "cpu": PoolLayout("cpu", AXES),
        "gpu": PoolLayout("gpu", AXES),
        "hopper": PoolLayout("hopper", AXES, head_multiple=WGMMA_ROWS),
        "tpu": PoolLayout("tpu", FUSED_AXES),
        "xla": PoolLayout("xla", AXES),
    }
)


def device_layout(device: jax.Device) -> PoolLayout:
    """The layout that the kernels for `device` want."""
    capability = getattr(device, "compute_capability", None)
    return pool_layout("hopper" if device.platform == "gpu" and capability == "9.0" else device.platform)


def pool_layout(backend: str) -> PoolLayout:
    """The layout that the kernels of `backend` ("cpu", "gpu", "hopper", "tpu") want. Raises ValueError for others.

    "xla" is that of attention by XLA, on any device.
    """
    if backend not in _LAYOUTS:
        raise ValueError(f"backend: no pool layout for {backend!r}; choose from {sorted(_LAYOUTS)}.")
    return _LAYOUTS[backend]


def read_pages(pool: jax.Array, ids: jax.Array) -> jax.Array:
    """Whole pages ids[k] over all layers, bit-exact: [layers, k, ...the other axes of the pool]."""
    return pool.at[:, ids].get(mode="promise_in_bounds")


def write_pages(pool: jax.Array, ids: jax.Array, values: jax.Array) -> jax.Array:
    """The pool with pages ids[k] set to `values` as read_pages gives them. In place when the pool is donated."""
    if values.dtype != pool.dtype:
        raise ValueError(f"values: dtype {values.dtype} is not the pool's {pool.dtype}; a cast would not be bit-exact.")
    return pool.at[:, ids].set(values, mode="promise_in_bounds")


def copy_pages(pool: jax.Array, pairs: jax.Array, count: jax.Array) -> jax.Array:
    """The pool with page pairs[i, 0] copied to page pairs[i, 1], one after the other, for the first `count` pairs.

    In place when the pool is donated. A loop, because a copy by index arrays would move every pair there is room for.
    """

    def one(i: jax.Array, pool: jax.Array) -> jax.Array:
        page = lax.dynamic_slice_in_dim(pool, pairs[i, 0], 1, axis=1)
        return lax.dynamic_update_slice_in_dim(pool, page, pairs[i, 1], axis=1)

    return lax.fori_loop(0, count, one, pool)
