"""What one layer keeps per token, and which layers share a page table. Knows no arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FullAttentionSpec:
    """Keys and values of every token so far."""

    kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class SlidingWindowSpec:
    """Keys and values of the last `window` tokens: position q sees position k if and only if 0 <= q - k < window."""

    kv_heads: int
    head_dim: int
    window: int


LayerCacheSpec = FullAttentionSpec | SlidingWindowSpec


@dataclass(frozen=True, slots=True)
class CacheGroup:
    """Decoder layers, by index, that share one page table and one pool."""

    spec: LayerCacheSpec
    layers: tuple[int, ...]

    @property
    def window(self) -> int | None:
        """Tokens visible to a query, itself included; None means all."""
        match self.spec:
            case SlidingWindowSpec(window=window):
                return window
            case FullAttentionSpec():
                return None


def cache_groups(per_layer: Sequence[LayerCacheSpec]) -> tuple[CacheGroup, ...]:
    """One group per distinct spec: full attention first, then windows, each in the order of first use."""
    layers: dict[LayerCacheSpec, list[int]] = {}
    for index, spec in enumerate(per_layer):
        layers.setdefault(spec, []).append(index)
    ordered = sorted(layers, key=lambda spec: isinstance(spec, SlidingWindowSpec))
    return tuple(CacheGroup(spec, tuple(layers[spec])) for spec in ordered)
