"""A parameter is declared once: shape, dtype, the logical name of each axis, and how a checkpoint's tensors make it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array

from jaxpaged.models.forms import Form, Padded
from jaxpaged.quant.product import StoredTable, StoredWeight
from jaxpaged.quant.scheme import Axes, Parameter, Role, Shape


def param(
    shape: Shape,
    axes: Axes,
    dtype: DTypeLike,
    *,
    inputs: int = 0,
    role: Role = "layer",
    form: Form | None = None,
) -> nnx.Param:
    """A parameter to be filled from a checkpoint; modules are built under nnx.eval_shape, so this allocates nothing.

    inputs: how many of the last axes a linear() contracts; 0 for what is no matrix and is never quantized.
    role: the part of the decoder it belongs to; a quantization scheme may spare some (quant/scheme.py).
    form: how the checkpoint's parts are put together; None: one tensor of this shape.
    """
    if len(shape) != len(axes):
        raise ValueError(f"shape {shape} and axes {axes} differ in length")
    return nnx.Param(jnp.zeros(shape, dtype), axes=axes, inputs=inputs, role=role, form=form or Padded(shape, shape))


def parameter_of(parameter: nnx.Param) -> Parameter:
    """What param() has declared, for one layer; to be asked before a checkpoint fills it."""
    one, metadata = parameter.get_value(), parameter.get_metadata()
    return Parameter(one.shape, metadata["axes"], np.dtype(one.dtype), metadata["inputs"], metadata["role"])


def weight_of(parameter: nnx.Param) -> Array | StoredWeight:
    """What a parameter holds: an array, or another stored weight."""
    return parameter.get_value()


def table_of(parameter: nnx.Param) -> Array | StoredTable:
    """The same of a table whose rows are looked up."""
    return parameter.get_value()


def bias_of(parameter: nnx.Param | None) -> Array | None:
    """The array of a parameter that a part may lack."""
    return None if parameter is None else parameter.get_value()
