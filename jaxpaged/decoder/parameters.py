"""The parameters of a module tree as flat data: which arrays (leaves) hold each, how they are made, where they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from flax import nnx
from jaxtyping import Array

from jaxpaged.layers.param import parameter_of
from jaxpaged.models.forms import Form
from jaxpaged.quant.scheme import Axes, Leaf, Parameter, Scheme, Shape

Path = tuple[Any, ...]  # of a parameter in the module tree: names and places in lists


@dataclass(frozen=True, slots=True)
class ParamInfo:
    """One leaf: e.g. `runs.0.0.mixer.qkv`, with a logical name per axis.

    layers: the decoder layers that are stacked on the first axis, in order; empty for a leaf without a layer axis.
    """

    path: str
    shape: Shape
    dtype: np.dtype
    axes: Axes
    layers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Weight:
    """One parameter of the module tree, and the leaves that hold it: params[i] for i in `leaves`.

    target: its name per decoder layer, e.g. `layers.{i}.mixer.qkv`; `parameter` is that of one layer.
    form: how a checkpoint's tensors make it. scheme: how it is stored and multiplied.
    layers: the decoder layers that its leaves hold, in order; `stacked`: on their first axis.
    """

    target: str
    parameter: Parameter
    form: Form
    scheme: Scheme
    layers: tuple[int, ...]
    stacked: bool
    leaves: tuple[int, ...]


@runtime_checkable
class HasParameters(Protocol):
    """What loading needs to know of a model."""

    @property
    def params(self) -> tuple[ParamInfo, ...]: ...

    @property
    def weights(self) -> tuple[Weight, ...]: ...


class Declared(NamedTuple):
    """The parameters of a module tree, and the leaves that hold them, both in the tree's order."""

    params: tuple[ParamInfo, ...]
    weights: tuple[Weight, ...]


class Place(NamedTuple):
    """Where a parameter of the module tree belongs: see Weight."""

    target: str
    layers: tuple[int, ...] = ()
    stacked: bool = False


def declare(
    variables: Iterable[tuple[Path, nnx.Param[Array]]],
    place_of: Callable[[Path], Place],
    scheme_of: Callable[[str, Parameter], Scheme],
) -> Declared:
    """Describe the parameters that layers/param.py has declared, under their paths."""
    params: list[ParamInfo] = []
    weights: list[Weight] = []
    for path, variable in variables:
        place, parameter = place_of(path), parameter_of(variable)
        scheme = scheme_of(place.target, parameter)
        leaves = [_info(".".join(map(str, path)), leaf, place) for leaf in scheme.leaves(parameter)]
        held = tuple(range(len(params), len(params) + len(leaves)))
        form = variable.get_metadata()["form"]
        weights.append(Weight(place.target, parameter, form, scheme, place.layers, place.stacked, held))
        params += leaves
    return Declared(tuple(params), tuple(weights))


def _info(path: str, leaf: Leaf, place: Place) -> ParamInfo:
    """The leaf, with a layer axis where layers are stacked."""
    if not place.stacked:
        return ParamInfo(path + leaf.name, leaf.shape, leaf.dtype, leaf.axes)
    shape, axes = (len(place.layers), *leaf.shape), ("layer", *leaf.axes)
    return ParamInfo(path + leaf.name, shape, leaf.dtype, axes, place.layers)
