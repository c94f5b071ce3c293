"""The device mesh: `data` shards of the batch and the pages, times `model` shards of heads, FFN and vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh

from jaxpaged.errors import ConfigError

DATA, MODEL = "data", "model"
AXES = (DATA, MODEL)


def make_mesh(tensor_parallel: int, data_parallel: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh [data_parallel, tensor_parallel] over the first devices given (default: all of the default backend).

    Raises ConfigError when there are too few.
    """
    if tensor_parallel < 1 or data_parallel < 1:
        raise ConfigError("tensor_parallel_size and data_parallel_size must be at least 1.")
    available = list(jax.devices() if devices is None else devices)
    needed = tensor_parallel * data_parallel
    if needed > len(available):
        raise ConfigError(
            f"tensor_parallel_size={tensor_parallel} times data_parallel_size={data_parallel} needs {needed} devices, "
            f"but there are {len(available)}. Lower one of them."
        )
    return jax.make_mesh(
        (data_parallel, tensor_parallel), AXES, axis_types=(AxisType.Auto,) * 2, devices=available[:needed]
    )


def check_mesh(mesh: Mesh) -> Mesh:
    """A mesh that a caller brings must have exactly our axes, in automatic mode. Raises ConfigError."""
    if mesh.axis_names != AXES:
        raise ConfigError(f"the mesh has axes {mesh.axis_names}; make one with the axes {AXES}.")
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        raise ConfigError(
            "the mesh has explicit or manual axes; make it with axis_types=(AxisType.Auto, AxisType.Auto)."
        )
    return mesh
