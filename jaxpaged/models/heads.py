"""How the attention heads of a model are laid out on tensor-parallel devices.

Heads are stored as slots: a key-value head and the `group` query heads that use it. Every device holds the same number
of whole slots, so a KV head that several devices need is stored once for each, and slots that are left over are zero: a
zero query head attends evenly to something finite, and its column of the output matrix is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class HeadLayout:
    """Per slot its KV head, and per slot and place in it a query head. None: a zero head."""

    group: int
    kv: tuple[int | None, ...]
    queries: tuple[tuple[int | None, ...], ...]

    @property
    def slots(self) -> int:
        return len(self.kv)


@cache
def plan_heads(heads: int, kv_heads: int, tensor_parallel: int) -> HeadLayout:
    """The layout with the fewest slots (they cost KV memory), and among those with the fewest query heads."""
    per_kv = heads // kv_heads
    candidates = (_layout(per_kv, kv_heads, group, tensor_parallel) for group in range(per_kv, 0, -1))
    return min(candidates, key=lambda layout: (layout.slots, layout.slots * layout.group))


def _layout(per_kv: int, kv_heads: int, group: int, tensor_parallel: int) -> HeadLayout:
    kv: list[int | None] = []
    queries: list[tuple[int | None, ...]] = []
    for head in range(kv_heads):
        first, last = head * per_kv, (head + 1) * per_kv
        for start in range(first, last, group):
            kv.append(head)
            queries.append(tuple(q if q < last else None for q in range(start, start + group)))
    spare = -len(kv) % tensor_parallel
    return HeadLayout(group, (*kv, *[None] * spare), (*queries, *[(None,) * group] * spare))
