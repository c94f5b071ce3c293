"""Converted checkpoints: the leaves as they are served, in Orbax's own format, beside the settings of the model.

    directory/jaxpaged.json    what the leaves were prepared for
    directory/orbax/           the leaves by path, uncompressed
    directory/config.json ...  the model's settings and its tokenizer
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint.experimental.v1 as ocp
from jax.sharding import Mesh
from jaxtyping import Array

from jaxpaged.errors import WeightError
from jaxpaged.models.functional import FunctionalDecoder, ParamInfo
from jaxpaged.sharding.rules import sharding_of
from jaxpaged.weights.assembly import all_finite
from jaxpaged.weights.hub import read_json

MANIFEST = "jaxpaged.json"
STORE = "orbax"
FORMAT = 1
# Small pieces are read into memory that malloc has already touched; see checkpoint.py.
CHUNK_BYTES = 4 << 20


def is_converted(directory: Path) -> bool:
    return (directory / MANIFEST).is_file()


def save_converted(directory: Path, decoder: FunctionalDecoder, leaves: Sequence[Array]) -> None:
    """Write the leaves and, last, what they were prepared for, so that a cut-off write is no checkpoint."""
    context = ocp.Context()
    saving = context.array.saving
    saving.use_compression = False
    saving.storage_options.chunk_byte_size = CHUNK_BYTES
    with context:
        ocp.save((directory / STORE).resolve(), _by_path(decoder.params, leaves))
    (directory / MANIFEST).write_text(json.dumps(_manifest(decoder), indent=1) + "\n", encoding="utf-8")


def load_converted(directory: Path, decoder: FunctionalDecoder, mesh: Mesh) -> tuple[Array, ...]:
    """The leaves of a converted checkpoint on this mesh. Raises WeightError when it was made for something else."""
    if not is_converted(directory):
        raise WeightError(f"{directory} is not a converted checkpoint (no {MANIFEST}); use load_format=auto.")
    _check_manifest(directory, read_json(directory / MANIFEST), _manifest(decoder))
    structs = [jax.ShapeDtypeStruct(p.shape, p.dtype, sharding=sharding_of(mesh, p.axes)) for p in decoder.params]
    try:
        loaded = ocp.load((directory / STORE).resolve(), _by_path(decoder.params, structs))
    except Exception as error:  # noqa: BLE001 - Orbax wraps what TensorStore raises in bare Exception
        raise WeightError(f"{directory / STORE} is damaged ({_first_line(error)}); convert the model again.") from error
    leaves = tuple(loaded[info.path] for info in decoder.params)
    _check_finite(directory, decoder.params, leaves)
    return leaves


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


def _check_finite(directory: Path, params: Sequence[ParamInfo], leaves: Sequence[Array]) -> None:
    flags = jax.device_get(all_finite(leaves))
    bad = [info.path for info, ok in zip(params, flags, strict=True) if not ok]
    if bad:
        raise WeightError(f"{directory}: NaN or infinity in {', '.join(bad)}; convert the model again.")


def _first_line(error: Exception) -> str:
    return str(error.__cause__ or error).strip().partition("\n")[0]
