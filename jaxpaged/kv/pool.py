"""The device pool of pages: one array per cache group, [layer, page, ...] with pages as the group's kind wants them.

Page ids are local to a data shard and page 0 of every shard is the null page. Everything here that changes a pool
donates it: the old KVPool is dead after the call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int32

from jaxpaged.errors import InvariantError
from jaxpaged.kv.kind import IntArray
from jaxpaged.kv.spec import CacheGroup
from jaxpaged.kv.untouched import release_zeros
from jaxpaged.sharding.mesh import DATA, MODEL
from jaxpaged.sharding.rules import sharding_of, spec_of
from pallas_kernels.paged_attention import PoolLayout, copy_pages, read_pages, write_pages

PAGE_AXIS = 1  # after the layers
BATCH = 64  # pages that one call of a program takes; more are done in several calls


@dataclass(frozen=True)
class PoolGeometry:
    """What fixes the shape of the pools, except the number of pages. `page_size` in tokens.

    layout: that of keys and values. dtype: the model's, for kinds that ask for no other.
    """

    groups: tuple[CacheGroup, ...]
    layout: PoolLayout
    page_size: int
    dtype: np.dtype
    mesh: Mesh

    def array(self, group: int, pages: int) -> jax.ShapeDtypeStruct:
        """A group's whole array, with its sharding, for `pages` pages in each data shard."""
        page = self.groups[group].kind.page_array(self.layout, self.page_size)
        shape = (len(self.groups[group].layers), pages * self.mesh.shape[DATA], *page.shape)
        sharding = sharding_of(self.mesh, ("layer", "page", *page.axes))
        return jax.ShapeDtypeStruct(shape, self.dtype if page.dtype is None else page.dtype, sharding=sharding)

    def is_split(self, group: int) -> bool:
        """Whether tensor-parallel devices share out a page of a group; else each has all of it."""
        page = self.groups[group].kind.page_array(self.layout, self.page_size)
        return MODEL in spec_of(page.axes)

    def page_bytes(self, group: int) -> int:
        """Bytes that one page of a group takes on one device, all layers of the group together."""
        array = self.array(group, 1)
        local: tuple[int, ...] = array.sharding.shard_shape(array.shape)
        itemsize: int = array.dtype.itemsize
        return math.prod(local) * itemsize

    def abstract(self, num_pages: Sequence[int]) -> tuple[jax.ShapeDtypeStruct, ...]:
        """The pools' shapes and shardings, to compile programs before they exist."""
        return tuple(self.array(group, pages) for group, pages in enumerate(num_pages))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KVPool:
    """One array per cache group: pages over `data`, the axes of a page over `model` or on every device."""

    arrays: tuple[Array, ...]
    geometry: PoolGeometry = field(metadata={"static": True})

    @classmethod
    def allocate(cls, geometry: PoolGeometry, num_pages: Sequence[int]) -> KVPool:
        """Zeroed pools of `num_pages[group]` pages in each data shard; a CPU's memory is taken as pages are written."""
        arrays = _allocate_program(geometry, tuple(num_pages))()
        for array in arrays:
            release_zeros(array)
        return cls(arrays, geometry)

    def with_arrays(self, arrays: tuple[Array, ...]) -> KVPool:
        """The pool after a program that donated and returned its arrays."""
        return replace(self, arrays=arrays)

    def num_pages(self, group: int) -> int:
        """Pages of a group in each data shard, the null page included."""
        return self.arrays[group].shape[PAGE_AXIS] // int(self.geometry.mesh.shape[DATA])

    def abstract(self, group: int) -> jax.ShapeDtypeStruct:
        """A group's array as the programs are compiled for it."""
        return self.geometry.array(group, self.num_pages(group))

    def warm_up(self) -> KVPool:
        """Compile what copy, read and write need, so that nothing is compiled later; changes nothing."""
        for group in range(len(self.arrays)):
            for program in (_copy_program, _read_program, _write_program):
                program(self.abstract(group))
        return self

    def copy(self, group: int, copies: Sequence[Int32[np.ndarray, "_ 2"]]) -> KVPool:
        """Copy pages, in order: `copies[shard]` holds rows (from, to) of that data shard. Donates the pool."""
        for pairs in copies:
            self._check(group, pairs)
        array, program = self.arrays[group], _copy_program(self.abstract(group))
        for start in range(0, max(map(len, copies)), BATCH):
            parts = [pairs[start : start + BATCH] for pairs in copies]
            counts = np.array([len(part) for part in parts], np.int32)
            array = program(array, self._per_shard(_padded(parts, (2,))), self._per_shard(counts))
        return self._with(group, array)

    def read(self, group: int, pages: IntArray, shard: int = 0) -> np.ndarray:
        """The content of pages of one data shard, on the host: the pool's shape with len(pages) on the page axis."""
        self._check(group, pages)
        parts, program = [], _read_program(self.abstract(group))
        for start in range(0, max(1, len(pages)), BATCH):
            part = pages[start : start + BATCH]
            content = program(self.arrays[group], self._one_shard(part, shard))
            parts.append(self._take(np.asarray(content), shard * BATCH, len(part)))
        return np.concatenate(parts, axis=PAGE_AXIS)

    def write(self, group: int, pages: IntArray, content: np.ndarray, shard: int = 0) -> KVPool:
        """The inverse of read(), bit for bit; pages must differ from each other. Donates the pool."""
        self._check(group, pages)
        array, program = self.arrays[group], _write_program(self.abstract(group))
        batch = self.geometry.array(group, BATCH)
        for start in range(0, len(pages), BATCH):
            part = pages[start : start + BATCH]
            whole = np.zeros(batch.shape, batch.dtype)
            self._take(whole, shard * BATCH, len(part))[...] = self._take(content, start, len(part))
            array = program(array, self._one_shard(part, shard), jax.device_put(whole, batch.sharding))
        return self._with(group, array)

    def _with(self, group: int, array: Array) -> KVPool:
        return replace(self, arrays=(*self.arrays[:group], array, *self.arrays[group + 1 :]))

    def _check(self, group: int, pages: IntArray) -> None:
        # An index out of range would be clamped on the device and corrupt another request's page.
        if pages.size and not 0 <= int(pages.min()) <= int(pages.max()) < self.num_pages(group):
            raise InvariantError(
                f"page ids {pages.min()}..{pages.max()} of group {group}: 0..{self.num_pages(group) - 1}"
            )

    @staticmethod
    def _take(content: np.ndarray, start: int, length: int) -> np.ndarray:
        return content[:, start : start + length]

    def _one_shard(self, pages: IntArray, shard: int) -> Array:
        parts = [pages[:0]] * self.geometry.mesh.shape[DATA]
        parts[shard] = pages
        return self._per_shard(_padded(parts))

    def _per_shard(self, values: np.ndarray) -> Array:
        placed: Array = jax.device_put(values, sharding_of(self.geometry.mesh, ("shard",)))
        return placed


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
def _copy_program(pool: jax.ShapeDtypeStruct) -> Callable[[Array, Array, Array], Array]:
    def local(pool: Array, pairs: Int32[Array, "1 b 2"], counts: Int32[Array, "1"]) -> Array:
        return copy_pages(pool, pairs[0], counts[0])

    return _compiled(pool, local, (_ids(pool, BATCH, 2), _ids(pool)), donate=True)


@cache
def _read_program(pool: jax.ShapeDtypeStruct) -> Callable[[Array, Array], Array]:
    def local(pool: Array, pages: Int32[Array, "1 b"]) -> Array:
        return read_pages(pool, pages[0])

    return _compiled(pool, local, (_ids(pool, BATCH),), donate=False)


@cache
def _write_program(pool: jax.ShapeDtypeStruct) -> Callable[[Array, Array, Array], Array]:
    def local(pool: Array, pages: Int32[Array, "1 b"], content: Array) -> Array:
        return write_pages(pool, pages[0], content)

    layers, _, *page = pool.shape
    shape = (layers, BATCH * pool.sharding.mesh.shape[DATA], *page)
    content = jax.ShapeDtypeStruct(shape, pool.dtype, sharding=pool.sharding)
    return _compiled(pool, local, (_ids(pool, BATCH), content), donate=True)


def _ids(pool: jax.ShapeDtypeStruct, *tail: int) -> jax.ShapeDtypeStruct:
    """Integers for each data shard."""
    mesh = pool.sharding.mesh
    return jax.ShapeDtypeStruct((mesh.shape[DATA], *tail), jnp.int32, sharding=sharding_of(mesh, ("shard",)))


def _compiled(
    pool: jax.ShapeDtypeStruct,
    local: Callable[..., Array],
    arguments: tuple[jax.ShapeDtypeStruct, ...],
    *,
    donate: bool,
) -> Callable[..., Array]:
    """`local` on the part of the pages that each device has. No value is summed across devices: every bit survives."""
    specs = tuple(argument.sharding.spec for argument in (pool, *arguments))
    mesh = pool.sharding.mesh
    mapped = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=specs[0], check_vma=False)
    return jax.jit(mapped, donate_argnums=(0,) if donate else ()).lower(pool, *arguments).compile()
