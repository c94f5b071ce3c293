"""How a parameter is stored: from a matrix's parts in Hugging Face's order, [out, in], to one array of the decoder.

A form only moves elements and puts zeros where the stored array is larger, so it serves any plane of a packed weight.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxpaged.models.heads import HeadLayout

Shape = tuple[int, ...]
Parts = Mapping[str, Array]
PartShapes = Mapping[str, Shape]
WHOLE = "whole"
SHORTEST = 1e-12  # a row of zeros stays one


class Form(ABC):
    """Hashable, and equal for equal work."""

    __slots__ = ()

    @property
    def unit(self) -> int:
        """Rows of a part that stay together where a tensor has the parts interleaved."""
        return 1

    @property
    def experts(self) -> int:
        """On the first axis of the stored array and of every part; 0: it has no such axis."""
        return 0

    @abstractmethod
    def parts(self) -> PartShapes:
        """What the checkpoint must give."""

    @abstractmethod
    def store(self, parts: Parts) -> Array:
        """The stored array."""


@dataclass(frozen=True, slots=True)
class FusedHeads(Form):
    """Parts q, k, v -> [slot, group + 2, head_dim, *rest]; where queries are gated, a `gate` like q comes last."""

    layout: HeadLayout
    heads: int
    kv_heads: int
    head_dim: int
    rest: Shape = ()
    gated: bool = False

    @property
    def unit(self) -> int:
        return self.head_dim

    @property
    def in_slot(self) -> int:
        """Heads in a slot."""
        return self.layout.group * (2 if self.gated else 1) + 2

    def parts(self) -> PartShapes:
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        gate = {"gate": (q, *self.rest)} if self.gated else {}
        return {"q": (q, *self.rest), "k": (kv, *self.rest), "v": (kv, *self.rest), **gate}

    def store(self, parts: Parts) -> Array:
        slots = tuple((head,) for head in self.layout.kv)
        places = {"q": self.layout.queries, "k": slots, "v": slots, "gate": self.layout.queries}
        placed = [_place(parts[name].reshape(-1, self.head_dim, *self.rest), places[name]) for name in self.parts()]
        return jnp.concatenate(placed, axis=1)


@dataclass(frozen=True, slots=True)
class PerHead(Form):
    """One number per query head -> [slot * group]."""

    layout: HeadLayout
    heads: int

    def parts(self) -> PartShapes:
        return {WHOLE: (self.heads,)}

    def store(self, parts: Parts) -> Array:
        return _place(parts[WHOLE], self.layout.queries).reshape(-1)


@dataclass(frozen=True, slots=True)
class SpreadHeads(Form):
    """One matrix [out, head * head_dim] -> [out, slot * group * head_dim]."""

    layout: HeadLayout
    heads: int
    head_dim: int
    rows: int

    def parts(self) -> PartShapes:
        return {WHOLE: (self.rows, self.heads * self.head_dim)}

    def store(self, parts: Parts) -> Array:
        by_head = parts[WHOLE].reshape(self.rows, self.heads, self.head_dim)
        return jnp.moveaxis(_place(jnp.moveaxis(by_head, 1, 0), self.layout.queries), 2, 0).reshape(self.rows, -1)


@dataclass(frozen=True, slots=True)
class Interleaved(Form):
    """Equal parts in blocks of rows -> [blocks, part, block, *rest], zeros behind each part's own rows."""

    names: tuple[str, ...]
    size: Shape
    shape: Shape

    def parts(self) -> PartShapes:
        return dict.fromkeys(self.names, self.size)

    def store(self, parts: Parts) -> Array:
        blocks, _, block, *rest = self.shape
        padded = (_pad(parts[name], (blocks * block, *rest)) for name in self.names)
        return jnp.stack([part.reshape(blocks, block, *rest) for part in padded], axis=1)


@dataclass(frozen=True, slots=True)
class Padded(Form):
    """One array, zeros behind its own size."""

    size: Shape
    shape: Shape

    def parts(self) -> PartShapes:
        return {WHOLE: self.size}

    def store(self, parts: Parts) -> Array:
        return _pad(parts[WHOLE], self.shape)


@dataclass(frozen=True, slots=True)
class UnitRows(Form):
    """Like Padded, with each row divided by its length. For plain tensors only: it does more than move elements."""

    size: Shape
    shape: Shape

    def parts(self) -> PartShapes:
        return {WHOLE: self.size}

    def store(self, parts: Parts) -> Array:
        rows = parts[WHOLE].astype(jnp.float32)
        lengths = jnp.linalg.norm(rows, axis=-1, keepdims=True)
        return _pad((rows / jnp.maximum(lengths, SHORTEST)).astype(parts[WHOLE].dtype), self.shape)


@dataclass(frozen=True, slots=True)
class HeadRows(Form):
    """One matrix [head * head_dim, inputs] -> [stored head, head_dim, inputs], zero heads behind."""

    heads: int
    stored: int
    head_dim: int
    inputs: int

    @property
    def unit(self) -> int:
        return self.head_dim

    @property
    def shape(self) -> Shape:
        return self.stored, self.head_dim, self.inputs

    def parts(self) -> PartShapes:
        return {WHOLE: (self.heads * self.head_dim, self.inputs)}

    def store(self, parts: Parts) -> Array:
        return _pad(parts[WHOLE].reshape(self.heads, self.head_dim, self.inputs), self.shape)


@dataclass(frozen=True, slots=True)
class EachExpert(Form):
    """`each` for every expert: parts [expert, ...] -> [expert, ...]."""

    count: int
    each: Form

    @property
    def unit(self) -> int:
        return self.each.unit

    @property
    def experts(self) -> int:
        return self.count

    def parts(self) -> PartShapes:
        return {name: (self.count, *shape) for name, shape in self.each.parts().items()}

    def store(self, parts: Parts) -> Array:
        return jax.vmap(self.each.store)(parts)


@dataclass(frozen=True, slots=True)
class EachHead(EachExpert):
    """A row for each head, [head, ...] -> [slot * place, ...], as the heads are stored; zeros for a zero head."""

    slots: tuple[tuple[int | None, ...], ...]

    @property
    def rows(self) -> int:
        return sum(map(len, self.slots))

    def store(self, parts: Parts) -> Array:
        rows = EachExpert.store(self, parts)
        return _place(rows, self.slots).reshape(self.rows, *rows.shape[1:])


@dataclass(frozen=True, slots=True)
class SplitHeads(Form):
    """One row of all heads, [head * head_dim] -> [slot * place, head_dim], as they are stored; zeros for zero heads."""

    slots: tuple[tuple[int | None, ...], ...]
    heads: int
    head_dim: int

    @property
    def rows(self) -> int:
        return sum(map(len, self.slots))

    @property
    def firsts(self) -> tuple[bool, ...]:
        """Of each stored row whether it is the first of its head."""
        heads = [head for slot in self.slots for head in slot]
        return tuple(head is not None and head not in heads[:row] for row, head in enumerate(heads))

    def parts(self) -> PartShapes:
        return {WHOLE: (self.heads * self.head_dim,)}

    def store(self, parts: Parts) -> Array:
        by_head = parts[WHOLE].reshape(self.heads, self.head_dim)
        return _place(by_head, self.slots).reshape(self.rows, self.head_dim)


def _place(heads: Array, slots: tuple[tuple[int | None, ...], ...]) -> Array:
    """heads [head, ...] -> [slot, place, ...], zeros where a place has no head."""
    count = heads.shape[0]
    index = np.asarray([[count if head is None else head for head in slot] for slot in slots])
    if index.size == count and (index.reshape(-1) == np.arange(count)).all():
        return heads.reshape(*index.shape, *heads.shape[1:])  # nothing moves, also where the heads are sharded
    return jnp.concatenate([heads, jnp.zeros_like(heads[:1])])[index]


def _pad(array: Array, shape: Shape) -> Array:
    if array.shape == shape:  # a scalar, for one, which jnp.pad refuses
        return array
    return jnp.pad(array, [(0, size - have) for size, have in zip(shape, array.shape, strict=True)])
