"""A row's first upload: its page table, prompt length and sampling state, as one int32 vector per admitted request.

Floats and unsigned integers travel as their bits. Unused slots of a call point at the null row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from jaxpaged.errors import InvariantError
from jaxpaged.execution.batch import BatchLimits

SLOTS = 8  # requests one call of the admission program can take, per data shard


@dataclass(frozen=True, slots=True)
class Field:
    """Shape and dtype of one leaf of a row."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class AdmissionLayout:
    """How one row lies in its int32 vector: row id, then a page table per group, then the sampler's leaves."""

    table_widths: tuple[int, ...]
    fields: tuple[Field, ...]
    treedef: Any

    @classmethod
    def of(cls, table_widths: Sequence[int], sampler_rows: Any) -> AdmissionLayout:
        """`sampler_rows`: the sampler's device state (leading axis = rows), from which one row's shapes are read."""
        leaves, treedef = jax.tree.flatten(sampler_rows)
        fields = tuple(Field(tuple(leaf.shape[1:]), np.dtype(leaf.dtype)) for leaf in leaves)
        return cls(tuple(table_widths), fields, treedef)

    @property
    def size(self) -> int:
        return 1 + sum(self.table_widths) + sum(field.size for field in self.fields)

    def pack(
        self, rows: Sequence[int], pages: Sequence[Sequence[np.ndarray]], sampler_rows: Any, out: np.ndarray
    ) -> None:
        """Write n admissions into the first lines of `out`, int32 [slots, size], which is zero.

        pages: of each admission its page table per group; entries after the last page are the null page.
        sampler_rows: the sampler's state with leading axis [n].
        """
        count = len(rows)
        out[:count, 0] = rows
        start = 1
        for width, lines in zip(self.table_widths, zip(*pages, strict=True), strict=True):
            _write_tables(out[:, start : start + width], lines)
            start += width
        for field, values in zip(self.fields, self.treedef.flatten_up_to(sampler_rows), strict=True):
            bits = _to_bits(np.asarray(values, field.dtype)).reshape(count, field.size)
            out[:count, start : start + field.size] = bits
            start += field.size

    def check(self, packed: np.ndarray, limits: BatchLimits) -> None:
        """Refuse rows and pages that the device would clamp into others. packed: int32 [..., size]."""
        start, ok = 1, _within(packed[..., 0], limits.rows)
        for width, pages in zip(self.table_widths, limits.pages, strict=True):
            ok = ok and _within(packed[..., start : start + width], pages)
            start += width
        if not ok:
            raise InvariantError(f"an admitted row or page is out of range: {packed[..., :start].tolist()}")

    def unpack(self, packed: Int32[Array, "slots size"]) -> tuple[Array, tuple[Array, ...], Any]:
        """(rows [slots], page tables per group [slots, width], sampler rows with leading axis [slots])."""
        start, tables = 1, []
        for width in self.table_widths:
            tables.append(jax.lax.slice_in_dim(packed, start, start + width, axis=1))
            start += width
        leaves = []
        for field in self.fields:
            bits = jax.lax.slice_in_dim(packed, start, start + field.size, axis=1)
            leaves.append(_from_bits(bits, field.dtype).reshape(-1, *field.shape))
            start += field.size
        return packed[:, 0], tuple(tables), jax.tree.unflatten(self.treedef, leaves)


def _write_tables(out: np.ndarray, lines: Sequence[np.ndarray]) -> None:
    """Write the page tables of admissions, one a line, into `out`, int32 [slots, width]."""
    for line, ids in zip(out, lines, strict=False):
        if len(ids) > len(line):
            raise InvariantError(f"a page table of {len(ids)} entries for a row that has room for {len(line)}")
        line[: len(ids)] = ids


def _within(ids: np.ndarray, limit: int) -> bool:
    return int(ids.min()) >= 0 and int(ids.max()) < limit


def _to_bits(values: np.ndarray) -> np.ndarray:
    return values.view(np.int32) if values.dtype.itemsize == 4 else values.astype(np.int32)


def _from_bits(bits: Array, dtype: np.dtype) -> Array:
    if dtype == np.dtype(bool):
        return bits != 0
    if dtype.itemsize == 4:
        return jax.lax.bitcast_convert_type(bits, jnp.dtype(dtype))
    return bits.astype(dtype)
