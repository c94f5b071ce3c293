"""New weights into a running model: the leaves are changed in place, one layer of one parameter at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from jaxpaged.decoder.parameters import HasParameters
from jaxpaged.errors import WeightError
from jaxpaged.models.weight_rules import WeightRules
from jaxpaged.weights.checkpoint import source_struct
from jaxpaged.weights.finite import all_finite, refuse_non_finite
from jaxpaged.weights.insertion import Leaves, blank, insert
from jaxpaged.weights.plan import Slice, plan_update, usual_slices

Tensors = Mapping[str, Array | np.ndarray]


def update_weights(leaves: Leaves, tensors: Tensors, decoder: HasParameters, rules: WeightRules, mesh: Mesh) -> Leaves:
    """The leaves with some tensors replaced, given by their names in a Hugging Face checkpoint. Donates `leaves`.

    Everything is checked before the first leaf changes: WeightError leaves the model as it was. Nothing is compiled
    for tensors with the shapes and dtypes of the checkpoint that the leaves were loaded from.
    """
    _refuse_what_is_no_array(tensors)
    plan = plan_update(rules, decoder, {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()})
    checks = [
        (piece.sources, all_finite(_placed(piece, tensors, mesh), piece.assemble.plain_dtype)) for piece in plan.slices
    ]
    refuse_non_finite("update_weights", checks)
    updated = list(leaves)
    for piece in plan.slices:
        before = tuple(updated[leaf] for leaf in piece.leaves if decoder.params[leaf].layers)
        after = insert(decoder.params, mesh, piece, before, _placed(piece, tensors, mesh))
        for leaf, array in zip(piece.leaves, after, strict=True):
            updated[leaf] = array
    return tuple(updated)


def _refuse_what_is_no_array(tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, np.ndarray | jax.Array):
            raise WeightError(f"{name} is a {type(tensor).__name__}; give a NumPy or JAX array under each name.")


def prepare_update(decoder: HasParameters, rules: WeightRules, mesh: Mesh) -> None:
    """Compile what update_weights runs for plain tensors of the served dtype, for weights that were not loaded so.

    Each kind of slice is inserted once into a leaf of its own; one such leaf is in memory at a time.
    """
    kinds = {
        (piece.assemble, tuple(decoder.params[leaf].shape for leaf in piece.leaves)): piece
        for piece in usual_slices(rules, decoder)
    }
    for piece in kinds.values():
        infos = [decoder.params[leaf] for leaf in piece.leaves]
        structs = [
            source_struct(source.shape, piece.assemble.parameter.dtype, mesh) for source in piece.assemble.sources()
        ]
        sources = [jax.device_put(np.zeros(struct.shape, struct.dtype), struct.sharding) for struct in structs]
        all_finite(sources, piece.assemble.plain_dtype)
        leaves = tuple(blank(info, mesh) for info in infos if info.layers)
        jax.block_until_ready(insert(decoder.params, mesh, piece, leaves, sources))


def _placed(piece: Slice, tensors: Tensors, mesh: Mesh) -> Sequence[Array]:
    """The tensors of a slice on the mesh, as the loader places them."""
    sources = [tensors[name] for name in piece.sources]
    structs = [source_struct(source.shape, source.dtype, mesh) for source in sources]
    return [jax.device_put(source, struct.sharding) for source, struct in zip(sources, structs, strict=True)]
