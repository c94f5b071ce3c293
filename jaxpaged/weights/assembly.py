"""From the tensors of a checkpoint to the leaves of one layer of one parameter: pure, under jit or not."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxpaged.models.forms import EachExpert, Form, Parts, PartShapes
from jaxpaged.quant.scheme import PackedFormat, Parameter, Scheme, Shape, SourceTensor
from jaxpaged.weights.transforms import find_transform


@dataclass(frozen=True, slots=True)
class Take:
    """What one rule's tensors give: these parts, by this transform. each_expert: a tensor per expert, to be stacked."""

    parts: tuple[str, ...]
    transform: str | None
    each_expert: bool = False


@dataclass(frozen=True, slots=True)
class Assembly:
    """Tensors -> the leaves of one layer of one parameter. The arguments are the tensors of sources(), in order.

    Hashable and equal for equal work, so one compiled function serves all layers of a kind.
    packed: the format of the tensors; None: plain ones of any float type.
    """

    parameter: Parameter
    form: Form
    scheme: Scheme
    takes: tuple[Take, ...]
    packed: PackedFormat | None = None

    def sources(self) -> tuple[SourceTensor, ...]:
        """What the tensors must look like. A plain one has no name of its own: ""."""
        return tuple(
            tensor
            for take in self.takes
            for _ in range(self.form.experts if take.each_expert else 1)
            for tensor in self._stand_for(self._shape(take))
        )

    def words(self, take: Take) -> tuple[str, ...]:
        """What the names of a source's tensors end in; "" for the plain tensor's own name."""
        return tuple(tensor.name for tensor in self._stand_for(self._shape(take)))

    @property
    def plain_dtype(self) -> np.dtype | None:
        """The dtype that plain tensors are served in; None for packed ones."""
        return None if self.packed else self.parameter.dtype

    def __call__(self, *tensors: Array) -> tuple[Array, ...]:
        given = map(jnp.asarray, tensors)
        planes = [self._planes(take, given) for take in self.takes]
        stored = [self.form.store(dict(ChainMap(*map(dict, plane)))) for plane in zip(*planes, strict=True)]
        if self.packed is not None:
            return self.packed.pack(stored, self.parameter)
        (weight,) = stored
        return self.scheme.pack(weight, self.parameter)

    def _planes(self, take: Take, given: Iterator[Array]) -> list[Parts]:
        """The parts that a rule's tensors give, once per plane: one plane for plain tensors."""
        if not take.each_expert:
            return [self._split(take, plane) for plane in self._read(self._shape(take), given)]
        experts = [self._read(self._shape(take), given) for _ in range(self.form.experts)]
        return [self._split(take, jnp.stack(planes)) for planes in zip(*experts, strict=True)]

    def _read(self, shape: Shape, given: Iterator[Array]) -> tuple[Array, ...]:
        """The next of the given tensors, as planes of `shape`."""
        tensors = [next(given) for _ in self._stand_for(shape)]
        return tuple(tensors) if self.packed is None else self.packed.planes(tensors, shape)

    def _split(self, take: Take, plane: Array) -> Parts:
        def split(tensor: Array) -> Parts:
            return find_transform(take.transform).split(tensor, self._part_shapes(take), self.form.unit)

        return jax.vmap(split)(plane) if self.form.experts else split(plane)

    def _stand_for(self, shape: Shape) -> tuple[SourceTensor, ...]:
        """The tensors that stand for a plain one of this shape."""
        return (SourceTensor("", shape),) if self.packed is None else self.packed.tensors(shape)

    def _shape(self, take: Take) -> Shape:
        """Of a plain tensor."""
        shape = find_transform(take.transform).source_shape(self._part_shapes(take))
        return (self.form.experts, *shape) if self.form.experts and not take.each_expert else shape

    def _part_shapes(self, take: Take) -> PartShapes:
        """For one expert."""
        shapes = (self.form.each if isinstance(self.form, EachExpert) else self.form).parts()
        return {name: shapes[name] for name in take.parts}
