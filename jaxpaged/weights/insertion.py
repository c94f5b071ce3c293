"""Puts checkpoint tensors into the model's leaves: assemble, cast, place. One compile for each kind of weight.

Loading and update_weights share the compiled programs, which are kept for as long as the process lives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Int32

from jaxpaged.decoder.parameters import ParamInfo
from jaxpaged.sharding.rules import sharding_of
from jaxpaged.weights.assembly import Assembly
from jaxpaged.weights.plan import Slice

Leaves = tuple[Array, ...]
DTypes = tuple[jnp.dtype, ...]
Shardings = tuple[NamedSharding, ...]


def blank(info: ParamInfo, mesh: Mesh) -> Array:
    """A leaf that holds nothing yet: NaN (the smallest integer), so that what stays unwritten is found."""
    fill = jnp.nan if jnp.issubdtype(info.dtype, jnp.floating) else jnp.iinfo(info.dtype).min
    make: Callable[[], Array] = jax.jit(
        lambda: jnp.full(info.shape, fill, info.dtype), out_shardings=sharding_of(mesh, info.axes)
    )
    return make()


def insert(params: Sequence[ParamInfo], mesh: Mesh, piece: Slice, leaves: Leaves, sources: Sequence[Array]) -> Leaves:
    """The leaves of `piece` (decoder.params[i] for i in piece.leaves) with its layer made from the sources.

    Donates `leaves`; where the leaves have no layers they are made anew, and `leaves` is empty.
    """
    infos = [params[leaf] for leaf in piece.leaves]
    dtypes, shardings = zip(*((info.dtype, sharding_of(mesh, info.axes)) for info in infos), strict=True)
    if infos[0].layers:
        return _insert_program(piece.assemble, dtypes, shardings)(leaves, jnp.int32(piece.index), *sources)
    return _make_program(piece.assemble, dtypes, shardings)(*sources)


@cache
def _insert_program(assemble: Assembly, dtypes: DTypes, shardings: Shardings) -> Callable[..., Leaves]:
    def insert(leaves: Leaves, index: Int32[Array, ""], *sources: Array) -> Leaves:
        layers = _cast(assemble(*sources), dtypes)
        return tuple(lax.dynamic_update_index_in_dim(*each, index, 0) for each in zip(leaves, layers, strict=True))

    return jax.jit(insert, donate_argnums=0, out_shardings=shardings)


@cache
def _make_program(assemble: Assembly, dtypes: DTypes, shardings: Shardings) -> Callable[..., Leaves]:
    return jax.jit(lambda *sources: _cast(assemble(*sources), dtypes), out_shardings=shardings)


def _cast(arrays: Leaves, dtypes: DTypes) -> Leaves:
    return tuple(array.astype(dtype) for array, dtype in zip(arrays, dtypes, strict=True))
