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
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Int32
from numpy.typing import NDArray

from jaxpaged.errors import InvariantError
from jaxpaged.kv.spec import CacheGroup
from jaxpaged.sharding.mesh import DATA
from jaxpaged.sharding.rules import sharding_of
from pallas_kernels.paged_attention import PoolLayout, copy_pages, read_pages, write_pages

BATCH = 64  # pages that one call of a program takes; more are done in several calls
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
        return cls(_allocate_program(geometry, tuple(num_pages))(), geometry)

    def with_arrays(self, arrays: tuple[Array, ...]) -> KVPool:
        """The pool after a program that donated and returned its arrays."""
        return replace(self, arrays=arrays)

    def num_pages(self, group: int) -> int:
        """Pages of a group in each data shard, the null page included."""
        return self.arrays[group].shape[self.geometry.page_axis] // self.geometry.mesh.shape[DATA]

    def warm_up(self) -> KVPool:
        """Compile what copy, read and write need, so that nothing is compiled later; changes nothing."""
        for array in self.arrays:
            for program in (_copy_program, _read_program, _write_program):
                program(self.geometry, array.shape)
        return self

    def copy(self, group: int, copies: Sequence[Int32[np.ndarray, "k 2"]]) -> KVPool:
        """Copy pages, in order: `copies[shard]` holds rows (from, to) of that data shard. Donates the pool."""
        for pairs in copies:
            self._check(group, pairs)
        array, program = self.arrays[group], _copy_program(self.geometry, self.arrays[group].shape)
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
            content = _read_program(self.geometry, self.arrays[group].shape)(
                self.arrays[group], self._one_shard(part, shard)
            )
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
            array = _write_program(geometry, array.shape)(array, self._one_shard(part, shard), placed)
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
def _allocate_program(geometry: PoolGeometry, num_pages: tuple[int, ...]) -> Callable[[], tuple[Array, ...]]:
    abstract = geometry.abstract(num_pages)
    shardings = tuple(pool.sharding for pool in abstract)
    return jax.jit(lambda: tuple(jnp.zeros(pool.shape, pool.dtype) for pool in abstract), out_shardings=shardings)


@cache
def _copy_program(geometry: PoolGeometry, shape: tuple[int, ...]) -> Callable[[Array, Array, Array], Array]:
    def local(pool: Array, pairs: Int32[Array, "1 b 2"], counts: Int32[Array, "1"]) -> Array:
        return copy_pages(pool, pairs[0], counts[0], geometry.layout)

    return _compiled(geometry, shape, local, (_ids(geometry, BATCH, 2), _ids(geometry)), donate=True)


@cache
def _read_program(geometry: PoolGeometry, shape: tuple[int, ...]) -> Callable[[Array, Array], Array]:
    def local(pool: Array, pages: Int32[Array, "1 b"]) -> Array:
        return read_pages(pool, pages[0], geometry.layout)

    return _compiled(geometry, shape, local, (_ids(geometry, BATCH),), donate=False)


@cache
def _write_program(geometry: PoolGeometry, shape: tuple[int, ...]) -> Callable[[Array, Array, Array], Array]:
    def local(pool: Array, pages: Int32[Array, "1 b"], content: Array) -> Array:
        return write_pages(pool, pages[0], content, geometry.layout)

    pages = list(shape)
    pages[geometry.page_axis] = BATCH * geometry.mesh.shape[DATA]
    content = jax.ShapeDtypeStruct(tuple(pages), geometry.dtype, sharding=geometry.sharding)
    return _compiled(geometry, shape, local, (_ids(geometry, BATCH), content), donate=True)


def _ids(geometry: PoolGeometry, *tail: int) -> jax.ShapeDtypeStruct:
    """Integers for each data shard."""
    shape = (geometry.mesh.shape[DATA], *tail)
    return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=sharding_of(geometry.mesh, ("shard",)))


def _compiled(
    geometry: PoolGeometry,
    shape: tuple[int, ...],
    local: Callable[..., Array],
    arguments: tuple[jax.ShapeDtypeStruct, ...],
    *,
    donate: bool,
) -> Callable[..., Array]:
    """`local` on the pages and heads of each device. No value is summed across devices, so every bit survives."""
    pool = jax.ShapeDtypeStruct(shape, geometry.dtype, sharding=geometry.sharding)
    specs = tuple(argument.sharding.spec for argument in (pool, *arguments))
    mapped = jax.shard_map(local, mesh=geometry.mesh, in_specs=specs, out_specs=specs[0], check_vma=False)
    return jax.jit(mapped, donate_argnums=(0,) if donate else ()).lower(pool, *arguments).compile()
