"""From the spec of a layer's mixer or feed-forward part to its module, by a table that names modules."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from importlib import import_module
from typing import Any

from jax.typing import DTypeLike

LayerParts = Mapping[type, str]  # type of a spec -> "module:class"


def build_part(table: LayerParts, part: Hashable, hidden: int, tensor_parallel: int, dtype: DTypeLike) -> Any:
    """The module of a part: class(part, hidden, tensor_parallel, dtype). Raises ValueError for an unknown kind."""
    if type(part) not in table:
        known = ", ".join(sorted(kind.__name__ for kind in table))
        raise ValueError(
            f"no module is registered for the layer part {type(part).__name__}, only for {known}; "
            "add it to LAYER_PARTS in models/registry.py"
        )
    module, name = table[type(part)].split(":")
    return getattr(import_module(module), name)(part, hidden, tensor_parallel, dtype)
