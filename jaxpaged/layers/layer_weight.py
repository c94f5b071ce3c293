"""A weight that a loop over layers picks by index, without copying it out of a stack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Float32, Int32

from jaxpaged.quant.product import StoredWeight, product


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class LayerWeight:
    """options[index]: one matrix per layer, of one shape. A product branches on the index, so each is read in place."""

    options: tuple[Array | StoredWeight, ...]
    index: Int32[Array, ""]

    def product(self, x: Float[Array, "t ..."]) -> Float32[Array, "t ..."]:
        return lax.switch(self.index, [partial(product, w=option) for option in self.options], x)


def gather_layers[Layer: nnx.Module](layers: list[Layer]) -> Layer:
    """Like layers as one module, for at_layer(): matrices become a LayerWeight, the small rest is stacked."""

    def gathered(*parameters: nnx.Param) -> nnx.Variable[LayerWeight | Array]:
        values = [parameter.get_value() for parameter in parameters]
        is_matrix = parameters[0].get_metadata()["inputs"] > 0
        return parameters[0].replace(LayerWeight(tuple(values), jnp.int32(0)) if is_matrix else jnp.stack(values))

    return jax.tree.map(gathered, *layers, is_leaf=lambda node: isinstance(node, nnx.Param))


def at_layer[Layer: nnx.Module](gathered: Layer, index: Int32[Array, ""]) -> Layer:
    """The index-th of the layers that gather_layers() has put together."""

    def chosen(value: LayerWeight | Array) -> LayerWeight | Array:
        return replace(value, index=index) if isinstance(value, LayerWeight) else value[index]

    return jax.tree.map(chosen, gathered, is_leaf=lambda node: isinstance(node, LayerWeight))
