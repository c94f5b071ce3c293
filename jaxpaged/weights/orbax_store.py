"""Converted checkpoints: the leaves as they are served, in Orbax's own format, beside the settings of the model.

directory/jaxpaged.json    what the leaves were prepared for
directory/orbax/leaves/    the leaves by path, each an uncompressed zarr3 array
directory/config.json ...  the model's settings and its tokenizer
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool
from tqdm import tqdm

from jaxpaged.decoder.functional import FunctionalDecoder
from jaxpaged.decoder.parameters import ParamInfo
from jaxpaged.errors import WeightError
from jaxpaged.hub.model_directory import read_json
from jaxpaged.sharding.mesh import AXES
from jaxpaged.sharding.rules import sharding_of, spec_of
from jaxpaged.weights.finite import all_finite

MANIFEST = "jaxpaged.json"
STORE = "orbax"
FORMAT = 1
TREE = "leaves"
CHUNK_BYTES = 16 << 20
MAPPED = {"file_io_mode": {"mode": "memmap"}}
ALIGNMENT = 64


def is_converted(directory: Path) -> bool:
    return (directory / MANIFEST).is_file()


def save_converted(directory: Path, decoder: FunctionalDecoder, leaves: Sequence[Array]) -> None:
    """Write the leaves and, last, what they were prepared for, so that a cut-off write is no checkpoint."""
    import orbax.checkpoint.experimental.v1 as ocp  # takes long

    context = ocp.Context()
    saving = context.array.saving
    saving.use_ocdbt, saving.use_compression = False, False
    saving.storage_options.chunk_byte_size = CHUNK_BYTES
    with context:
        ocp.save((directory / STORE).resolve(), _by_path(decoder.params, leaves), checkpointable_name=TREE)
    (directory / MANIFEST).write_text(json.dumps(_manifest(decoder), indent=1) + "\n", encoding="utf-8")


def load_converted(
    directory: Path, decoder: FunctionalDecoder, mesh: Mesh, *, progress: bool = True
) -> tuple[Array, ...]:
    """The leaves of a converted checkpoint on this mesh. Raises WeightError when it was made for something else."""
    if not is_converted(directory):
        raise WeightError(f"{directory} is not a converted checkpoint (no {MANIFEST}); use load_format=auto.")
    _check_manifest(directory, read_json(directory / MANIFEST), _manifest(decoder))
    leaves = []
    total = sum(math.prod(info.shape) * info.dtype.itemsize for info in decoder.params)
    with tqdm(total=total, desc="weights", unit="B", unit_scale=True, disable=not progress) as bar:
        for info in decoder.params:
            leaves.append(_read_leaf(directory / STORE / TREE / info.path, info, sharding_of(mesh, info.axes)))
            bar.update(leaves[-1].nbytes)
    _check_finite(directory, decoder.params, leaves, mesh)
    return tuple(leaves)


def _read_leaf(path: Path, info: ParamInfo, sharding: NamedSharding) -> Array:
    """One array from the zarr3 files that Orbax wrote.

    Not by Orbax, whose way copies every byte twice into memory that is touched for the first time: on a CPU that takes
    five times as long as mapping the files and reading into aligned buffers, which JAX then takes over as they are.
    """
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}, "fill_missing_data_reads": False}

    @cache
    def read(*bounds: tuple[int | None, int | None]) -> np.ndarray:
        part = stored[tuple(slice(*each) for each in bounds)]
        out = _aligned(part.shape, info.dtype)
        tensorstore.array(out).write(part[tensorstore.d[:].translate_to[0]]).result()
        return out

    try:
        stored = tensorstore.open(spec, context=tensorstore.Context(MAPPED), open=True, read=True).result()
        return jax.make_array_from_callback(
            info.shape, sharding, lambda index: read(*((each.start, each.stop) for each in index or ()))
        )
    except ValueError as error:
        raise WeightError(
            f"{path} is damaged ({str(error).partition(chr(10))[0]}); convert the model again."
        ) from error


def finite_parts(mesh: Mesh, params: Sequence[ParamInfo]) -> Callable[[tuple[Array, ...]], Bool[Array, "device n"]]:
    """For each device and leaf whether all that the device holds of it is finite; nothing moves between devices."""

    def check(parts: Sequence[Array]) -> Bool[Array, "1 n"]:
        flags: Bool[Array, "n"] = all_finite(parts)
        return flags[None]

    specs = tuple(spec_of(info.axes) for info in params)
    return jax.jit(jax.shard_map(check, mesh=mesh, in_specs=(specs,), out_specs=PartitionSpec(AXES)))


def _aligned(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Uninitialised, from an address that JAX can take over on a CPU."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _by_path[T](params: Sequence[ParamInfo], values: Sequence[T]) -> dict[str, T]:
    return {info.path: value for info, value in zip(params, values, strict=True)}


def _manifest(decoder: FunctionalDecoder) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "dtype": jnp.dtype(decoder.dtype).name,
        "tensor_parallel_size": decoder.tensor_parallel,
        "leaves": {info.path: {"shape": list(info.shape), "dtype": info.dtype.name} for info in decoder.params},
    }


def _check_manifest(directory: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key in ("format", "dtype", "tensor_parallel_size"):
        if found.get(key) != wanted[key]:
            raise WeightError(
                f"{directory} was converted for {key}={found.get(key)}, but {key}={wanted[key]} is asked for; "
                "ask for the same or convert the model again."
            )
    leaves, expected = found.get("leaves"), wanted["leaves"]
    for path in sorted(expected):
        stored = leaves.get(path) if isinstance(leaves, dict) else None
        if stored != expected[path]:
            raise WeightError(
                f"{directory} holds {path} as {stored}, but the model needs {expected[path]}; convert the model again."
            )


def _check_finite(directory: Path, params: Sequence[ParamInfo], leaves: Sequence[Array], mesh: Mesh) -> None:
    flags = jax.device_get(finite_parts(mesh, params)(tuple(leaves))).all(0)
    bad = [info.path for info, ok in zip(params, flags, strict=True) if not ok]
    if bad:
        raise WeightError(f"{directory}: NaN or infinity in {', '.join(bad)}; convert the model again.")
