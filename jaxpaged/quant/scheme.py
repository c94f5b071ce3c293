"""What a weight format is: one object that says how a weight is stored, read, made up and multiplied.

A new format is a file here, a line in schemes.py, a name in config.Quantization, and a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Int32

Shape = tuple[int, ...]
Axes = tuple[str | None, ...]
Role = Literal["layer", "embedding", "head"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter [*outputs, *inputs] as a layer declares it, for one layer; a scheme decides by it.

    axes: the logical name of each axis. inputs: how many of the last axes a linear() contracts; 0: it is no matrix.
    role: which part of the decoder it belongs to.
    """

    shape: Shape
    axes: Axes
    dtype: np.dtype
    inputs: int = 0
    role: Role = "layer"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One array that holds a weight, or a share of it, for one layer.

    name: what follows the parameter's path; "" where one array is all. A converted checkpoint is known by the names,
    shapes and dtypes of its leaves, so no two schemes have the same.
    """

    name: str
    shape: Shape
    dtype: np.dtype
    axes: Axes


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """A tensor of a checkpoint in a packed format: `name` stands for the last word of the plain tensor's name.

    dtype: None takes any float type.
    """

    name: str
    shape: Shape
    dtype: np.dtype | None = None


@runtime_checkable
class PackedFormat(Protocol):
    """How checkpoints hold a scheme's weights already packed.

    A plane has one value per element of the plain tensor (integer values, say, and each element's scale), because a
    stored form moves elements. It exists while one weight is loaded.
    """

    def tensors(self, shape: Shape) -> tuple[SourceTensor, ...]:
        """What stands for a plain tensor of this shape."""
        ...

    def planes(self, tensors: Sequence[Array], shape: Shape) -> tuple[Array, ...]:
        """The tensors of tensors(shape), in order, as planes of `shape`."""
        ...

    def pack(self, planes: Sequence[Array], parameter: Parameter) -> tuple[Array, ...]:
        """The leaves, from planes in the parameter's shape. All planes are zero where the form put padding."""
        ...


@runtime_checkable
class Scheme(Protocol):
    """Hashable, and equal for equal work. Arrays are in the order of leaves()."""

    @property
    def packed(self) -> PackedFormat | None:
        """How checkpoints hold it packed; None: it is always made from a float tensor."""
        ...

    def accepts(self, parameter: Parameter) -> bool:
        """Whether it stores this parameter; what it does not stays as it is. Asked only where inputs > 0."""
        ...

    def leaves(self, parameter: Parameter) -> tuple[Leaf, ...]: ...

    def pack(self, weight: Float[Array, "..."], parameter: Parameter) -> tuple[Array, ...]:
        """The leaves, from floats in the parameter's shape."""
        ...

    def dummy(self, leaf: Leaf, noise: Float32[Array, "..."]) -> Array:
        """A leaf of random weights with a standard deviation of DUMMY_STD, from uniform noise in [-0.5, 0.5)."""
        ...

    def product(self, x: Float[Array, "t ..."], leaves: Sequence[Array]) -> Float32[Array, "t ..."]:
        """x [t, *inputs] times the weight: [t, *outputs]."""
        ...


@runtime_checkable
class HasRows(Protocol):
    """A scheme that can store a table: a matrix whose rows an embedding looks up by number.

    A number out of range counts as the nearest one.
    """

    def rows(self, leaves: Sequence[Array], outputs: Int32[Array, "t"]) -> Float[Array, "t i"]: ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """What linear() is given for a weight that a scheme stores; the same leaves with a layer axis in a stack.

    leaves: arrays; their numbers while a decoder is declared.
    """

    leaves: tuple[Any, ...]
    scheme: Scheme = field(metadata={"static": True})

    def product(self, x: Float[Array, "t ..."]) -> Float32[Array, "t ..."]:
        return self.scheme.product(x, self.leaves)

    def rows(self, outputs: Int32[Array, "t"]) -> Float[Array, "t i"]:
        """The weights [inputs] of some outputs: of a table that the embedding shares with the head."""
        if not isinstance(self.scheme, HasRows):
            raise TypeError(f"{type(self.scheme).__name__} stores no table of an embedding")
        return self.scheme.rows(self.leaves, outputs)
