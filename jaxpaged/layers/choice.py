"""A weight that a loop over layers picks by index, without copying it out of a stack."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int32

from jaxpaged.quant.qarray import QArray


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class Choice:
    """options[index]: matrices of one shape. linear() branches on the index, so that each is read where it lies."""

    options: tuple[Array | QArray, ...]
    index: Int32[Array, ""]


def gather_layers[Layer: nnx.Module](layers: list[Layer]) -> Layer:
    """Like layers as one module, for at_layer(): matrices become choices, the small rest is stacked."""

    def gathered(*parameters: nnx.Param) -> nnx.Variable[Choice | Array]:
        values = [parameter.get_value() for parameter in parameters]
        is_matrix = parameters[0].get_metadata()["inputs"] > 0
        return parameters[0].replace(Choice(tuple(values), jnp.int32(0)) if is_matrix else jnp.stack(values))

    return jax.tree.map(gathered, *layers, is_leaf=lambda node: isinstance(node, nnx.Param))


def at_layer[Layer: nnx.Module](gathered: Layer, index: Int32[Array, ""]) -> Layer:
    """The index-th of the layers that gather_layers() has put together."""

    def chosen(value: Choice | Array) -> Choice | Array:
        return replace(value, index=index) if isinstance(value, Choice) else value[index]

    return jax.tree.map(chosen, gathered, is_leaf=lambda node: isinstance(node, Choice))
