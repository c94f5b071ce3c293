"""The device pool of KV pages: one array per cache group, in the layout of the backend.

Page ids are local to a data shard and page 0 of every shard is the null page. Everything here that changes a pool
donates it: the old KVPool is dead after the call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int32
from numpy.typing import NDArray

from jaxpaged.errors import InvariantError
from jaxpaged.kv.spec import CacheGroup
from jaxpaged.sharding.mesh import DATA
from jaxpaged.sharding.rules import sharding_of
from pallas_kernels.paged_attention import PoolLayout

BATCH = 64  # pages that one call of a program takes; more are done in several calls
DATA_SPEC = PartitionSpec(DATA)
IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class PoolGeometry:
    """What fixes the shape of the pools, except the number of pages. `page_size` in tokens.

    `groups` count KV heads as they are stored: a multiple of the mesh's `model` axis.
    """

    groups: tuple[CacheGroup, ...]
    layout: PoolLayout
    page_size: int
    dtype: np.dtype
    mesh: Mesh

    def shape(self, group: int, pages: int) -> tuple[int, ...]:
        """Shape of a group's whole array, for `pages` pages in each data shard."""
        return self.layout.shape(
            layers=len(self.groups[group].layers),
            pages=pages * self.mesh.shape[DATA],
            page_size=self.page_size,
            kv_heads=self.groups[group].spec.kv_heads,
            head_dim=self.groups[group].spec.head_dim,
        )

    def page_bytes(self, group: int) -> int:
        """Bytes that one page of a group takes on one device, all layers of the group together."""
        return math.prod(self.shape(group, 1)) * self.dtype.itemsize // self.mesh.size

    @cached_property
    def sharding(self) -> NamedSharding:
        return sharding_of(self.mesh, self.layout.axes)

    @cached_property
    def page_axis(self) -> int:
        return self.layout.axes.index("page")

    def abstract(self, num_pages: Sequence[int]) -> tuple[jax.ShapeDtypeStruct, ...]:
        """The pools' shapes and shardings, to compile programs before they exist."""
        shapes = [self.shape(group, pages) for group, pages in enumerate(num_pages)]
        return tuple(jax.ShapeDtypeStruct(shape, self.dtype, sharding=self.sharding) for shape in shapes)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KVPool:
    """One array per cache group, pages over `data` and KV heads over `model`."""

    arrays: tuple[Array, ...]
    geometry: PoolGeometry = field(metadata={"static": True})

    @classmethod
    def allocate(cls, geometry: PoolGeometry, num_pages: Sequence[int]) -> KVPool:
        """Zeroed pools of `num_pages[group]` pages in each data shard."""
        abstract = geometry.abstract(num_pages)
        shardings = tuple(geometry.sharding for _ in abstract)
        make = jax.jit(lambda: tuple(jnp.zeros(pool.shape, pool.dtype) for pool in abstract), out_shardings=shardings)
        return cls(make(), geometry)

    def with_arrays(self, arrays: tuple[Array, ...]) -> KVPool:
        """The pool after a program that donated and returned its arrays."""
        return replace(self, arrays=arrays)

    def num_pages(self, group: int) -> int:
        """Pages of a group in each data shard, the null page included."""
        return self.arrays[group].shape[self.geometry.page_axis] // self.geometry.mesh.shape[DATA]

    def warm_up(self) -> KVPool:
        """Compile every program of this file, on null pages only. Donates the pool."""
        pool = self
        null = np.zeros(1, np.int32)
        for group in range(len(self.arrays)):
            pool = pool.copy(group, [np.zeros((1, 2), np.int32)] * self.geometry.mesh.shape[DATA])
            pool = pool.write(group, null, pool.read(group, null))
        return pool

    def copy(self, group: int, copies: Sequence[Int32[np.ndarray, "k 2"]]) -> KVPool:
        """Copy pages, in order: `copies[shard]` holds rows (from, to) of that data shard. Donates the pool."""
        for pairs in copies:
            self._check(group, pairs)
        array, program = self.arrays[group], _copy_program(self.geometry)
        for start in range(0, max(map(len, copies)), BATCH):
            parts = [pairs[start : start + BATCH] for pairs in copies]
            counts = np.array([len(part) for part in parts], np.int32)
            array = program(array, self._per_shard(_padded(parts, (2,))), self._per_shard(counts))
        return self._with(group, array)

    def read(self, group: int, pages: IntArray, shard: int = 0) -> np.ndarray:
        """The content of pages of one data shard, on the host: the pool's shape with len(pages) on the page axis."""
        self._check(group, pages)
        parts = []
        for start in range(0, max(1, len(pages)), BATCH):
            part = pages[start : start + BATCH]
            content = _read_program(self.geometry)(self.arrays[group], self._one_shard(part, shard))
            parts.append(self._take(np.asarray(content), shard * BATCH, len(part)))
        return np.concatenate(parts, axis=self.geometry.page_axis)

    def write(self, group: int, pages: IntArray, content: np.ndarray, shard: int = 0) -> KVPool:
        """The inverse of read(), bit for bit; pages must differ from each other. Donates the pool."""
        self._check(group, pages)
        array, geometry = self.arrays[group], self.geometry
        for start in range(0, len(pages), BATCH):
            part = pages[start : start + BATCH]
            whole = np.zeros(geometry.shape(group, BATCH), array.dtype)
            self._take(whole, shard * BATCH, len(part))[...] = self._take(content, start, len(part))
            placed = jax.device_put(whole, geometry.sharding)
            array = _write_program(geometry)(array, self._one_shard(part, shard), placed)
        return self._with(group, array)

    def _with(self, group: int, array: Array) -> KVPool:
        return replace(self, arrays=(*self.arrays[:group], array, *self.arrays[group + 1 :]))

    def _check(self, group: int, pages: IntArray) -> None:
        # An index out of range would be clamped on the device and corrupt another request's page.
        if pages.size and not 0 <= int(pages.min()) <= int(pages.max()) < self.num_pages(group):
            raise InvariantError(
                f"page ids {pages.min()}..{pages.max()} of group {group}: 0..{self.num_pages(group) - 1}"
            )

    def _take(self, content: np.ndarray, start: int, length: int) -> np.ndarray:
        index = [slice(None)] * content.ndim
        index[self.geometry.page_axis] = slice(start, start + length)
        return content[tuple(index)]

    def _one_shard(self, pages: IntArray, shard: int) -> Array:
        parts = [pages[:0]] * self.geometry.mesh.shape[DATA]
        parts[shard] = pages
        return self._per_shard(_padded(parts))

    def _per_shard(self, values: np.ndarray) -> Array:
        return jax.device_put(values, sharding_of(self.geometry.mesh, ("shard",)))


def _padded(parts: Sequence[IntArray], tail: tuple[int, ...] = ()) -> IntArray:
    """Stack the parts of the data shards, each padded to BATCH with the null page."""
    out = np.zeros((len(parts), BATCH, *tail), np.int32)
    for row, part in zip(out, parts, strict=True):
        row[: len(part)] = part
    return out


@cache
def _copy_program(geometry: PoolGeometry) -> Callable[[Array, Array, Array], Array]:
    axis = geometry.page_axis

    def local(pool: Array, pairs: Int32[Array, "1 b 2"], counts: Int32[Array, "1"]) -> Array:
        def one(i: Array, pool: Array) -> Array:
            page = lax.dynamic_slice_in_dim(pool, pairs[0, i, 0], 1, axis)
            return lax.dynamic_update_slice_in_dim(pool, page, pairs[0, i, 1], axis)

        return lax.fori_loop(0, counts[0], one, pool)

    return _per_shard_program(geometry, local, (DATA_SPEC, DATA_SPEC), donate=True)


@cache
def _read_program(geometry: PoolGeometry) -> Callable[[Array, Array], Array]:
    def local(pool: Array, pages: Int32[Array, "1 b"]) -> Array:
        return jnp.take(pool, pages[0], axis=geometry.page_axis, mode="clip")

    return _per_shard_program(geometry, local, (DATA_SPEC,), donate=False)


@cache
def _write_program(geometry: PoolGeometry) -> Callable[[Array, Array, Array], Array]:
    axis = geometry.page_axis

    def local(pool: Array, pages: Int32[Array, "1 b"], content: Array) -> Array:
        def one(i: Array, pool: Array) -> Array:
            page = lax.dynamic_slice_in_dim(content, i, 1, axis)
            return lax.dynamic_update_slice_in_dim(pool, page, pages[0, i], axis)

        return lax.fori_loop(0, BATCH, one, pool)

    return _per_shard_program(geometry, local, (DATA_SPEC, geometry.sharding.spec), donate=True)


def _per_shard_program(
    geometry: PoolGeometry, local: Callable[..., Array], specs: tuple[PartitionSpec, ...], *, donate: bool
) -> Callable[..., Array]:
    # Under shard_map no value is ever summed across devices, so every bit of a page survives.
    pool = geometry.sharding.spec
    mapped = jax.shard_map(local, mesh=geometry.mesh, in_specs=(pool, *specs), out_specs=pool, check_vma=False)
    return jax.jit(mapped, donate_argnums=(0,) if donate else ())
