"""Attention with other block sizes than the default: fields of the frozen configs in pallas_kernels, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from gpu.task import Skip
from pallas_kernels.paged_attention import PoolLayout, paged_attention
from pallas_kernels.paged_attention.config import ChunkConfig, DecodeConfig, XlaConfig
from pallas_kernels.paged_attention.mosaic_gpu.attention import paged_attention as on_hopper
from pallas_kernels.paged_attention.xla.attention import paged_attention as by_xla


@dataclass(frozen=True)
class Sizes:
    """Changed fields of DecodeConfig and ChunkConfig (Hopper's kernels), or of XlaConfig (where there are none)."""

    decode: Mapping[str, Any] = field(default_factory=dict)
    chunk: Mapping[str, Any] = field(default_factory=dict)
    xla: Mapping[str, Any] = field(default_factory=dict)


DEFAULT = Sizes()


def attention_with(sizes: Sizes, layout: PoolLayout) -> Callable[..., Any]:
    """paged_attention as the layout's order chooses it, or with changed sizes.

    Raises Skip for a field that no config has, and for Hopper's sizes where its kernels do not serve attention.
    """
    if sizes == DEFAULT:
        return partial(paged_attention, layout=layout)
    if sizes.xla:
        return partial(_all_named, by_xla, layout=layout, config=_changed(XlaConfig(), sizes.xla))
    if layout.name != "hopper":
        raise Skip(f"attention runs in layout {layout.name}, without Hopper's kernels")
    decode, chunk = _changed(DecodeConfig(), sizes.decode), _changed(ChunkConfig(), sizes.chunk)
    return partial(_all_named, on_hopper, layout=layout, decode=decode, chunk=chunk)


def _all_named(attend: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """The implementations want every option said."""
    return attend(*args, **({"alibi_slopes": None, "sinks": None} | options))


def _changed[Config](config: Config, changes: Mapping[str, Any]) -> Config:
    known = {item.name for item in fields(config)}  # type: ignore[arg-type]
    if unknown := set(changes) - known:
        raise Skip(f"{type(config).__name__} has no {', '.join(sorted(unknown))}")
    return replace(config, **changes)  # type: ignore[type-var]
