"""Puts checkpoint tensors into the model's leaves: transform, cast, place. One compile for each kind of weight.

Loading and update_weights share the compiled programs, through jit's own cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Int32

from jaxpaged.models.functional import ParamInfo
from jaxpaged.sharding.rules import sharding_of
from jaxpaged.weights.rules import Slice
from jaxpaged.weights.transforms import Assembly

Leaves = tuple[Array, ...]


def blank(info: ParamInfo, mesh: Mesh) -> Array:
    """A leaf that holds nothing yet: NaN (the smallest integer), so that what stays unwritten is found."""
    fill = jnp.nan if jnp.issubdtype(info.dtype, jnp.floating) else jnp.iinfo(info.dtype).min
    return jax.jit(lambda: jnp.full(info.shape, fill, info.dtype), out_shardings=sharding_of(mesh, info.axes))()


def insert(params: Sequence[ParamInfo], mesh: Mesh, piece: Slice, leaves: Leaves, sources: Sequence[Array]) -> Leaves:
    """The leaves of `piece` (decoder.params[i] for i in piece.leaves) with its layer made from the sources.

    Donates `leaves`; where the leaves have no layers they are made anew, and `leaves` may be empty.
    """
    shardings = tuple(sharding_of(mesh, params[leaf].axes) for leaf in piece.leaves)
    dtypes = tuple(params[leaf].dtype for leaf in piece.leaves)
    if params[piece.leaves[0]].layers:
        return _insert_layer(leaves, jnp.int32(piece.index), tuple(sources), piece.assemble, dtypes, shardings)
    return _make(tuple(sources), piece.assemble, dtypes, shardings)


@partial(jax.jit, static_argnames=("assemble", "dtypes", "shardings"), donate_argnames="leaves")
def _insert_layer(
    leaves: Leaves,
    index: Int32[Array, ""],
    sources: Leaves,
    assemble: Assembly,
    dtypes: tuple[jnp.dtype, ...],
    shardings: tuple[NamedSharding, ...],
) -> Leaves:
    made = [one.astype(dtype) for one, dtype in zip(assemble(*sources), dtypes, strict=True)]
    stacked = [lax.dynamic_update_index_in_dim(leaf, one, index, 0) for leaf, one in zip(leaves, made, strict=True)]
    return _placed(stacked, shardings)


@partial(jax.jit, static_argnames=("assemble", "dtypes", "shardings"))
def _make(
    sources: Leaves, assemble: Assembly, dtypes: tuple[jnp.dtype, ...], shardings: tuple[NamedSharding, ...]
) -> Leaves:
    return _placed([one.astype(dtype) for one, dtype in zip(assemble(*sources), dtypes, strict=True)], shardings)


def _placed(leaves: Sequence[Array], shardings: Sequence[NamedSharding]) -> Leaves:
    return tuple(lax.with_sharding_constraint(leaf, sharding) for leaf, sharding in zip(leaves, shardings, strict=True))


@partial(jax.jit, static_argnames="dtype")
def all_finite(arrays: Sequence[Array], dtype: jnp.dtype | None = None) -> Bool[Array, "n"]:
    """For each array whether all of it is finite, also once it is cast to `dtype`; true for integers."""
    return jnp.stack([_is_finite(array, dtype) for array in arrays])


def _is_finite(array: Array, dtype: jnp.dtype | None) -> Bool[Array, ""]:
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return jnp.bool_(True)
    cast = array if dtype is None else array.astype(dtype)
    # 0 * x summed is NaN for NaN and infinity. XLA's maximum loses a NaN in long arrays on a CPU, and isfinite().all()
    # takes three times as long.
    return jnp.sum(cast.astype(jnp.float32) * jnp.float32(0.0)) == jnp.float32(0.0)
