"""The formats of weights in oneDNN's order: of what PLAIN and Int8Scheme store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32

from jaxpaged.quant.int8 import Int8Scheme, quantize_rows
from jaxpaged.quant.onednn.matrix import BLOCKS, KINDS, Matrix
from jaxpaged.quant.plain import PLAIN
from jaxpaged.quant.scheme import Leaf, PackedFormat, Parameter, Scheme, Shape

INT8 = Int8Scheme()
NAME = ".packed"


@runtime_checkable
class LaidOut(Protocol):
    """A scheme for one parameter on one kind of machine; a converted checkpoint holds the leaves of `portable`."""

    @property
    def portable(self) -> Scheme: ...

    def lay_out(self, leaves: Sequence[Array]) -> tuple[Array, ...]:
        """The leaves, from those of `portable`."""
        ...


@dataclass(frozen=True, slots=True)
class OneDnnPlain:
    """Its one leaf: the matrix in the model's precision. outputs: the shape of the parameter's outputs."""

    outputs: Shape
    matrix: Matrix

    @property
    def packed(self) -> PackedFormat | None:
        return None

    @property
    def portable(self) -> Scheme:
        return PLAIN

    def accepts(self, parameter: Parameter) -> bool:
        return matrix_of(PLAIN, parameter, self.matrix.block) == self.matrix

    def leaves(self, parameter: Parameter) -> tuple[Leaf, ...]:
        return (Leaf(NAME, (self.matrix.size,), parameter.dtype, (None,)),)

    def lay_out(self, leaves: Sequence[Array]) -> tuple[Array, ...]:
        return (self.matrix.pack(leaves[0]),)

    def pack(self, weight: Float[Array, "..."], parameter: Parameter) -> tuple[Array, ...]:
        return self.lay_out(PLAIN.pack(weight, parameter))

    def dummy(self, leaf: Leaf, noise: Float32[Array, "..."]) -> Array:
        return PLAIN.dummy(leaf, noise)

    def product(self, x: Float[Array, "t ..."], leaves: Sequence[Array]) -> Float32[Array, "t ..."]:
        (packed,) = leaves
        products = self.matrix.dot(x.reshape(len(x), -1), packed)
        return products.reshape(len(x), *self.outputs)

    def rows(self, leaves: Sequence[Array], outputs: Int32[Array, "t"]) -> Float[Array, "t i"]:
        (packed,) = leaves
        return self.matrix.rows(packed, outputs)


@dataclass(frozen=True, slots=True)
class OneDnnInt8:
    """Leaves: the packed values and Int8Scheme's scale [*outputs]."""

    outputs: Shape
    matrix: Matrix

    @property
    def packed(self) -> PackedFormat | None:
        return None

    @property
    def portable(self) -> Scheme:
        return INT8

    def accepts(self, parameter: Parameter) -> bool:
        return INT8.accepts(parameter) and matrix_of(INT8, parameter, self.matrix.block) == self.matrix

    def leaves(self, parameter: Parameter) -> tuple[Leaf, ...]:
        _, scale = INT8.leaves(parameter)
        return (Leaf(NAME, (self.matrix.size,), np.dtype(np.int8), (None,)), scale)

    def lay_out(self, leaves: Sequence[Array]) -> tuple[Array, ...]:
        values, scale = leaves
        return self.matrix.pack(values), scale

    def pack(self, weight: Float[Array, "..."], parameter: Parameter) -> tuple[Array, ...]:
        return self.lay_out(INT8.pack(weight, parameter))

    def dummy(self, leaf: Leaf, noise: Float32[Array, "..."]) -> Array:
        return INT8.dummy(leaf, noise)

    def product(self, x: Float[Array, "t ..."], leaves: Sequence[Array]) -> Float32[Array, "t ..."]:
        packed, scale = leaves
        rows, row_scale = quantize_rows(x.reshape(len(x), -1))
        products = self.matrix.dot(rows, packed).astype(jnp.float32).reshape(len(x), *self.outputs)
        return products * row_scale.reshape(-1, *[1] * scale.ndim) * scale[None]


@dataclass(frozen=True, slots=True)
class OneDnnLayout:
    """The matrices that a machine has been found to multiply well, with their blocks: what else there is stays."""

    matrices: frozenset[Matrix]

    def __call__(self, scheme: Scheme, parameter: Parameter) -> Scheme:
        """The scheme that stores the parameter on this machine, where `scheme` would elsewhere."""
        if not parameter.inputs:
            return scheme
        outputs = parameter.shape[: len(parameter.shape) - parameter.inputs]
        for block in BLOCKS:
            matrix = matrix_of(scheme, parameter, block)
            if matrix in self.matrices:
                return OneDnnPlain(outputs, matrix) if scheme == PLAIN else OneDnnInt8(outputs, matrix)
        return scheme


def matrix_of(scheme: Scheme, parameter: Parameter, block: int = BLOCKS[0]) -> Matrix | None:
    """The matrix that a scheme multiplies by, where oneDNN knows its dtype."""
    if scheme not in (PLAIN, INT8):
        return None
    inner = len(parameter.shape) - parameter.inputs
    dtype = "int8" if scheme == INT8 else parameter.dtype.name
    if not parameter.inputs or dtype not in KINDS:
        return None
    return Matrix(math.prod(parameter.shape[:inner]), math.prod(parameter.shape[inner:]), dtype, block)
