"""What attention layers keep per token, and which layers share a page table. Knows no arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxpaged.kv.kind import CacheKind, PageArray, PagePolicy
from jaxpaged.kv.policies import FullPages, WindowPages

if TYPE_CHECKING:
    from pallas_kernels.paged_attention import PoolLayout


@dataclass(frozen=True, slots=True)
class FullAttentionSpec:
    """Keys and values of every token so far."""

    kv_heads: int
    head_dim: int

    @property
    def keeps_all(self) -> bool:
        return True

    def page_array(self, layout: PoolLayout, page_size: int) -> PageArray:
        return keys_and_values(layout, page_size, self.kv_heads, self.head_dim)

    def policy(self, page_size: int) -> PagePolicy:
        return FullPages(page_size)


@dataclass(frozen=True, slots=True)
class SlidingWindowSpec:
    """Keys and values of the last `window` tokens: position q sees position k if and only if 0 <= q - k < window."""

    kv_heads: int
    head_dim: int
    window: int

    @property
    def keeps_all(self) -> bool:
        return False

    def page_array(self, layout: PoolLayout, page_size: int) -> PageArray:
        return keys_and_values(layout, page_size, self.kv_heads, self.head_dim)

    def policy(self, page_size: int) -> PagePolicy:
        return WindowPages(page_size, self.window)


def keys_and_values(layout: PoolLayout, page_size: int, kv_heads: int, head_dim: int) -> PageArray:
    """A page of keys and values as the backend's kernels want them; KV heads are split over the devices."""
    shape = layout.shape(layers=1, pages=1, page_size=page_size, kv_heads=kv_heads, head_dim=head_dim)
    return PageArray(shape[2:], layout.axes[2:])


@dataclass(frozen=True, slots=True)
class CacheGroup:
    """Decoder layers, by index, that share one page table and one pool."""

    kind: CacheKind
    layers: tuple[int, ...]


def cache_groups(per_layer: Sequence[CacheKind]) -> tuple[CacheGroup, ...]:
    """One group per distinct kind: those that keep all pages first, then the others, each in the order of first use."""
    layers: dict[CacheKind, list[int]] = {}
    for index, kind in enumerate(per_layer):
        layers.setdefault(kind, []).append(index)
    ordered = sorted(layers, key=lambda kind: not kind.keeps_all)
    return tuple(CacheGroup(kind, tuple(layers[kind])) for kind in ordered)


def page_policies(groups: Sequence[CacheGroup], page_size: int) -> tuple[PagePolicy, ...]:
    """The policy of each group for pages of `page_size` tokens."""
    return tuple(group.kind.policy(page_size) for group in groups)
