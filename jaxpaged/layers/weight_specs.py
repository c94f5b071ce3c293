"""How a stored weight lies on the devices, leaf by leaf: for shard_map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jax.sharding import PartitionSpec
from jaxtyping import Array

from jaxpaged.layers.layer_weight import LayerWeight
from jaxpaged.quant.product import StoredWeight
from jaxpaged.quant.scheme import Parameter, QuantizedWeight
from jaxpaged.sharding.rules import spec_of


def weight_specs(parameter: Parameter, weight: Array | StoredWeight) -> Any:
    """A PartitionSpec for every array of `weight`, in a tree like it. `parameter`: as a layer declares it."""
    if isinstance(weight, LayerWeight):
        options = tuple(weight_specs(parameter, option) for option in weight.options)
        return LayerWeight(options, PartitionSpec())  # type: ignore[arg-type]
    if isinstance(weight, QuantizedWeight):
        leaves = weight.scheme.leaves(parameter)
        return replace(weight, leaves=tuple(spec_of(leaf.axes) for leaf in leaves))
    return spec_of(parameter.axes)
