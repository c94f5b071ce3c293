"""One table: logical axes of parameters, pools and batches -> mesh axes. The only place that decides who holds what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxpaged.errors import ConfigError
from jaxpaged.sharding.mesh import DATA, MODEL

Axes = tuple[str | None, ...]

# None: every device holds the whole axis.
RULES: Mapping[str, str | None] = MappingProxyType(
    {
        # batch
        "shard": DATA,
        # pool
        "page": DATA,
        "kv": None,
        "slot": None,
        # parameters and pool
        "layer": None,
        "kv_head": MODEL,
        "head_dim": None,
        # parameters
        "vocab": MODEL,
        "ffn": MODEL,
        "expert": MODEL,  # whole experts; an axis of experts whose ffn is cut has no name
        "head": MODEL,
        "q_group": None,
        "embed": None,
        "position": None,
        "part": None,
    }
)


@cache
def spec_of(axes: Axes) -> PartitionSpec:
    """The PartitionSpec of an array whose dimensions have these logical names (None: replicated).

    Raises ValueError for a name that the table lacks, and where two dimensions would share a mesh axis.
    """
    unknown = [axis for axis in axes if axis is not None and axis not in RULES]
    if unknown:
        raise ValueError(f"logical axes {unknown} of {axes} are not in the sharding table")
    mesh_axes = [None if axis is None else RULES[axis] for axis in axes]
    used = [axis for axis in mesh_axes if axis is not None]
    if len(used) != len(set(used)):
        raise ValueError(f"two of the logical axes {axes} map to the same mesh axis: {mesh_axes}")
    while mesh_axes and mesh_axes[-1] is None:  # the form that jitted functions give their outputs
        mesh_axes.pop()
    return PartitionSpec(*mesh_axes)


@cache
def sharding_of(mesh: Mesh, axes: Axes) -> NamedSharding:
    """The one NamedSharding object of these axes on this mesh."""
    return NamedSharding(mesh, spec_of(axes))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device of the mesh holds the whole array."""
    return sharding_of(mesh, ())


def check_divides(mesh: Mesh, name: str, shape: Sequence[int], axes: Axes) -> None:
    """Raise ConfigError when a dimension of the array `name` cannot be cut into equal parts on this mesh."""
    for size, axis, mesh_axis in zip(shape, axes, spec_of(axes), strict=False):
        if mesh_axis is not None and size % mesh.shape[mesh_axis]:
            flag = {MODEL: "tensor_parallel_size", DATA: "data_parallel_size"}[mesh_axis]
            raise ConfigError(
                f"{name}: its {axis} axis of {size} cannot be cut into {mesh.shape[mesh_axis]} equal parts; "
                f"use a {flag} that divides {size}."
            )
