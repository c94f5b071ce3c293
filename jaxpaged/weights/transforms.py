"""From one tensor of a checkpoint to the parts that a form puts together, in Hugging Face's order, [out, in]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxpaged.models.forms import Parts, PartShapes, Shape


@dataclass(frozen=True, slots=True)
class Transform:
    """`source_shape` tells what the tensor must look like to give these parts; `split` gives them.

    The last argument of `split` is the form's unit: rows of a part that stay together.
    """

    source_shape: Callable[[PartShapes], Shape]
    split: Callable[[Array, PartShapes, int], Parts]


def find_transform(name: str | None) -> Transform:
    """The transform that a rule names; models/weight_rules.py says what each does."""
    named = {
        None: _WHOLE,
        "transpose": _transposed(_WHOLE),
        "rows": _ROWS,
        "transpose_rows": _transposed(_ROWS),
        "interleaved": _INTERLEAVED,
        "transpose_interleaved": _transposed(_INTERLEAVED),
        "one_row": Transform(
            lambda parts: (1, *_same_shape(parts)), lambda tensor, parts, unit: _same(tensor[0], parts, unit)
        ),
    }
    return named[name]


def _same_shape(parts: PartShapes) -> Shape:
    (shape,) = parts.values()
    return shape


def _same(tensor: Array, parts: PartShapes, _: int) -> Parts:
    (name,) = parts
    return {name: tensor}


def _rows_shape(parts: PartShapes) -> Shape:
    shapes = list(parts.values())
    return sum(shape[0] for shape in shapes), *shapes[0][1:]


def _rows(tensor: Array, parts: PartShapes, _: int) -> Parts:
    ends = np.cumsum([shape[0] for shape in parts.values()])[:-1].tolist()
    return dict(zip(parts, jnp.split(tensor, ends), strict=True))


def _interleaved(tensor: Array, parts: PartShapes, unit: int) -> Parts:
    """The smallest part has one unit in each block."""
    blocks = min(shape[0] for shape in parts.values()) // unit
    by_block = tensor.reshape(blocks, -1, *tensor.shape[1:])
    ends = np.cumsum([shape[0] // blocks for shape in parts.values()])[:-1].tolist()
    split = zip(parts.items(), jnp.split(by_block, ends, axis=1), strict=True)
    return {name: rows.reshape(shape) for (name, shape), rows in split}


def _transposed(transform: Transform) -> Transform:
    return Transform(
        lambda parts: transform.source_shape(parts)[::-1],
        lambda tensor, parts, unit: transform.split(tensor.T, parts, unit),
    )


_WHOLE, _ROWS, _INTERLEAVED = (
    Transform(_same_shape, _same),
    Transform(_rows_shape, _rows),
    Transform(_rows_shape, _interleaved),
)
