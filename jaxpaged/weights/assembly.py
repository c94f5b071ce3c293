"""From the tensors of a checkpoint to the leaves of one layer of one parameter: pure, under jit or not."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxpaged.models.forms import Form, PartShapes, Shape
from jaxpaged.quant.qarray import quantize_weight
from jaxpaged.weights.transforms import find_transform


@dataclass(frozen=True, slots=True)
class Assembly:
    """Tensors -> the leaves of one layer of one parameter: one array, or int8 values and scale.

    Hashable and equal for equal work, so one compiled function serves all layers of a kind.
    takes: per tensor the parts it gives and the transform. quantize: how many axes are contracted; 0 keeps the dtype.
    """

    form: Form
    takes: tuple[tuple[tuple[str, ...], str | None], ...]
    dtype: np.dtype
    quantize: int = 0

    def source_shapes(self) -> tuple[Shape, ...]:
        """What the tensors must look like, in order."""
        return tuple(find_transform(name).source_shape(self._shapes(parts)) for parts, name in self.takes)

    def __call__(self, *tensors: Array) -> tuple[Array, ...]:
        parts: dict[str, Array] = {}
        for tensor, (names, transform) in zip(tensors, self.takes, strict=True):
            parts |= find_transform(transform).split(jnp.asarray(tensor), self._shapes(names), self.form.unit)
        stored = self.form.store(parts)
        if not self.quantize:
            return (stored.astype(self.dtype),)
        quantized = quantize_weight(stored, self.quantize)
        return quantized.values, quantized.scale

    def _shapes(self, names: tuple[str, ...]) -> PartShapes:
        shapes = self.form.parts()
        return {name: shapes[name] for name in names}
