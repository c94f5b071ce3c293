"""A short name for what a program is made of: the same in every process for the same values, another for others.

Strict: a value of a kind that is not listed here raises TypeError, so that nothing which matters is passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, singledispatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import PyTreeDef

import jaxpaged
import pallas_kernels

OWN = (jaxpaged, pallas_kernels)
TRACERS = ("jax", "jaxlib", "flax", "numpy")  # the libraries that tracing runs through
PLACES = ("jax_compilation_cache_dir", "jax_dump_ir_to")  # where something is written, not what


def fingerprint(*values: Any) -> str:
    """Of these values. Raises TypeError for a kind that it does not know."""
    made = hashlib.sha256()
    for part in _parts(values):
        made.update(part.encode())
        made.update(b"\0")
    return made.hexdigest()


def tracing_environment() -> str:
    """Of what tracing depends on beside a program: versions, JAX's settings, and every line of this code."""
    settings = {name: repr(value) for name, value in jax.config.values.items() if name not in PLACES}
    return fingerprint({name: version(name) for name in TRACERS}, settings, _sources())


@cache
def _sources() -> str:
    made = hashlib.sha256()
    for package in OWN:
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            made.update(f"{package.__name__} {path.relative_to(root)} {path.stat().st_size}\0".encode())
            made.update(path.read_bytes())
    return made.hexdigest()


@singledispatch
def _parts(value: Any) -> Iterator[str]:
    """The value as a sequence of texts. Of classes only the own ones are known: the code of others may change.

    Their private fields are worked out from the public ones by own code, which the environment covers.
    """
    kind = type(value)
    if not is_dataclass(value) or kind.__module__.split(".")[0] not in {package.__name__ for package in OWN}:
        raise TypeError(f"no fingerprint is known of {kind.__module__}.{kind.__qualname__}")
    yield f"{kind.__module__}.{kind.__qualname__}"
    for name in (field.name for field in fields(value) if not field.name.startswith("_")):
        yield name
        yield from _parts(getattr(value, name))


@_parts.register(int)
@_parts.register(float)
@_parts.register(str)
@_parts.register(bytes)
@_parts.register(type(None))
@_parts.register(np.dtype)
@_parts.register(PartitionSpec)
def _of_plain(value: object) -> Iterator[str]:
    yield f"{type(value).__qualname__} {value!r}"


@_parts.register(tuple)
@_parts.register(list)
def _of_sequence(values: tuple[Any, ...]) -> Iterator[str]:
    yield f"{type(values).__qualname__} {len(values)}"
    for value in values:
        yield from _parts(value)


@_parts.register(Mapping)
def _of_mapping(values: Mapping[str, Any]) -> Iterator[str]:
    yield f"mapping {len(values)}"
    for name in sorted(values):
        yield name
        yield from _parts(values[name])


@_parts.register
def _of_structure(tree: PyTreeDef) -> Iterator[str]:
    text = str(tree)
    if " at 0x" in text:
        raise TypeError("no fingerprint is known of a tree whose nodes hold objects without a value of their own")
    yield text


@_parts.register
def _of_mesh(mesh: Mesh) -> Iterator[str]:
    yield from _parts((mesh.axis_names, mesh.devices.shape, repr(mesh.axis_types)))
    yield from _parts([(device.id, device.platform, device.device_kind) for device in mesh.devices.flat])


@_parts.register
def _of_sharding(sharding: NamedSharding) -> Iterator[str]:
    yield from _parts((sharding.mesh, sharding.spec, sharding.memory_kind))


@_parts.register
def _of_abstract(value: jax.ShapeDtypeStruct) -> Iterator[str]:
    yield from _parts((value.shape, value.dtype, value.sharding, value.weak_type))
