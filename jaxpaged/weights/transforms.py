"""From the tensors of a checkpoint to one layer of a stored array: pure jax.numpy functions, under jit or not.

Two steps. A transform, named by a family's rule, turns one tensor into parts in Hugging Face's order, [out, in]. A
form, fixed by the parameter, puts the parts together as the decoder stores them, with zeros for padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxpaged.models.heads import HeadLayout, plan_heads
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.quant.qarray import quantize_weight

Shape = tuple[int, ...]
Parts = Mapping[str, Array]
PartShapes = Mapping[str, Shape]
WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Transform:
    """`source_shape` tells what the tensor must look like to give these parts; `split` gives them."""

    source_shape: Callable[[PartShapes], Shape]
    split: Callable[[Array, PartShapes], Parts]


def _same_shape(parts: PartShapes) -> Shape:
    (shape,) = parts.values()
    return shape


def _same(tensor: Array, parts: PartShapes) -> Parts:
    (name,) = parts
    return {name: tensor}


def _rows_shape(parts: PartShapes) -> Shape:
    shapes = list(parts.values())
    return sum(shape[0] for shape in shapes), *shapes[0][1:]


def _rows(tensor: Array, parts: PartShapes) -> Parts:
    """The parts' rows, one part after the other."""
    ends = np.cumsum([shape[0] for shape in parts.values()])[:-1].tolist()
    return dict(zip(parts, jnp.split(tensor, ends), strict=True))


def _interleaved(head_dim: int) -> Callable[[Array, PartShapes], Parts]:
    def split(tensor: Array, parts: PartShapes) -> Parts:
        by_head = tensor.reshape(-1, len(parts), head_dim, *tensor.shape[1:])
        return {name: by_head[:, i].reshape(shape) for i, (name, shape) in enumerate(parts.items())}

    return split


def _transposed(transform: Transform) -> Transform:
    return Transform(
        lambda parts: transform.source_shape(parts)[::-1],
        lambda tensor, parts: transform.split(tensor.T, parts),
    )


_WHOLE, _ROWS = Transform(_same_shape, _same), Transform(_rows_shape, _rows)


def find_transform(name: str | None, head_dim: int) -> Transform:
    """The transform that a rule names.

    None: the tensor is one part.  rows: all parts, one below the other.  interleaved: per head its query, key, value.
    transpose, transpose_rows: the same for tensors in [in, out] order.
    """
    named = {
        None: _WHOLE,
        "transpose": _transposed(_WHOLE),
        "rows": _ROWS,
        "transpose_rows": _transposed(_ROWS),
        "interleaved": Transform(_rows_shape, _interleaved(head_dim)),
    }
    return named[name]


@dataclass(frozen=True, slots=True)
class FusedHeads:
    """Parts q, k, v -> [slot, group + 2, head_dim, *rest]."""

    layout: HeadLayout
    heads: int
    kv_heads: int
    head_dim: int
    rest: Shape

    def parts(self) -> PartShapes:
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {"q": (q, *self.rest), "k": (kv, *self.rest), "v": (kv, *self.rest)}

    def store(self, parts: Parts) -> Array:
        q, k, v = (parts[name].reshape(-1, self.head_dim, *self.rest) for name in "qkv")
        slots = tuple((head,) for head in self.layout.kv)
        places = self.layout.queries, slots, slots
        return jnp.concatenate([_place(*each) for each in zip((q, k, v), places, strict=True)], axis=1)


@dataclass(frozen=True, slots=True)
class SpreadHeads:
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
class Interleaved:
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
class Padded:
    """One array, zeros behind its own size."""

    size: Shape
    shape: Shape

    def parts(self) -> PartShapes:
        return {WHOLE: self.size}

    def store(self, parts: Parts) -> Array:
        return _pad(parts[WHOLE], self.shape)


Form = FusedHeads | SpreadHeads | Interleaved | Padded


def _place(heads: Array, slots: tuple[tuple[int | None, ...], ...]) -> Array:
    """heads [head, ...] -> [slot, place, ...], zeros where a place has no head."""
    count = heads.shape[0]
    index = np.asarray([[count if head is None else head for head in slot] for slot in slots])
    if index.size == count and (index.reshape(-1) == np.arange(count)).all():
        return heads.reshape(*index.shape, *heads.shape[1:])  # nothing moves, also where the heads are sharded
    return jnp.concatenate([heads, jnp.zeros_like(heads[:1])])[index]


def _pad(array: Array, shape: Shape) -> Array:
    return jnp.pad(array, [(0, size - have) for size, have in zip(shape, array.shape, strict=True)])


def form_of(target: str, shape: Shape, spec: DecoderSpec, layer: int | None, tensor_parallel: int) -> Form:
    """How the parameter `target` with one-layer shape `shape` is put together. `layer`: its decoder layer, if any."""
    name = target.removeprefix("layers.{i}.")
    if layer is None:
        rows_of_vocabulary = name in ("embedding.table", "head.weight", "head.bias")
        return Padded((spec.vocab_size, *shape[1:]) if rows_of_vocabulary else shape, shape)
    mixer, ffn = spec.layers[layer].mixer, spec.layers[layer].ffn
    layout = plan_heads(mixer.heads, mixer.kv_heads, tensor_parallel)
    match name:
        case "mixer.qkv" | "mixer.qkv_bias":
            return FusedHeads(layout, mixer.heads, mixer.kv_heads, mixer.head_dim, shape[3:])
        case "mixer.out":
            return SpreadHeads(layout, mixer.heads, mixer.head_dim, shape[0])
        case "ffn.gate_up" | "ffn.gate_up_bias":
            return Interleaved(("gate", "up"), (ffn.size, *shape[3:]), shape)
        case "ffn.up" | "ffn.up_bias":
            return Padded((ffn.size, *shape[1:]), shape)
        case "ffn.down":
            return Padded((shape[0], ffn.size), shape)
        case _:
            return Padded(shape, shape)


@dataclass(frozen=True, slots=True)
class Assembly:
    """Tensors -> the leaves of one layer of one parameter: one array, or int8 values and scale.

    Hashable and equal for equal work, so one compiled function serves all layers of a kind.
    takes: per tensor the parts it gives and the transform. quantize: how many axes are contracted; 0 keeps the dtype.
    """

    form: Form
    takes: tuple[tuple[tuple[str, ...], str | None], ...]
    head_dim: int
    dtype: np.dtype
    quantize: int = 0

    def source_shapes(self) -> tuple[Shape, ...]:
        """What the tensors must look like, in order."""
        return tuple(self._transform(name).source_shape(self._shapes(parts)) for parts, name in self.takes)

    def __call__(self, *tensors: Array) -> tuple[Array, ...]:
        parts: dict[str, Array] = {}
        for tensor, (names, transform) in zip(tensors, self.takes, strict=True):
            parts |= self._transform(transform).split(jnp.asarray(tensor), self._shapes(names))
        stored = self.form.store(parts)
        if not self.quantize:
            return (stored.astype(self.dtype),)
        quantized = quantize_weight(stored, self.quantize)
        return quantized.values, quantized.scale

    def _transform(self, name: str | None) -> Transform:
        return find_transform(name, self.head_dim)

    def _shapes(self, names: tuple[str, ...]) -> PartShapes:
        shapes = self.form.parts()
        return {name: shapes[name] for name in names}
