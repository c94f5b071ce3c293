"""The ladder of padded sizes. Every program's shape comes from here, so the set of programs is known before ready."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

SMALLEST = 8  # one-row bf16 products are 14x slower than padded ones on a CPU, and no slower elsewhere


def ladder(largest: int, smallest: int = SMALLEST) -> tuple[int, ...]:
    """Powers of two up to and including `largest`, and the sizes half way between them where decoding steps lie."""
    sizes, size = [], smallest
    while size < largest:
        sizes.append(size)
        middle = size + size // 2
        if middle < largest and 4 * SMALLEST <= size < 16 * SMALLEST:
            sizes.append(middle)
        size *= 2
    return (*sizes, largest)


def sparse(sizes: Sequence[int]) -> tuple[int, ...]:
    """Every size a factor of four apart, the largest kept: for programs that are seldom needed."""
    kept = [sizes[-1]]
    for size in reversed(sizes):
        if size * 4 <= kept[-1]:
            kept.append(size)
    return tuple(reversed(kept))


def choose(sizes: Sequence[int], needed: int) -> int:
    """The smallest size that holds `needed`. Raises ValueError when none does."""
    index = bisect_left(sizes, needed)
    if index == len(sizes):
        raise ValueError(f"{needed} exceeds the largest bucket, {sizes[-1]}")
    return sizes[index]


@dataclass(frozen=True, slots=True)
class Buckets:
    """`tokens`: rows of the backbone. `heads`: rows of the head for common sampling, `rare_heads` for the rest."""

    tokens: tuple[int, ...]
    heads: tuple[int, ...]
    rare_heads: tuple[int, ...]

    @classmethod
    def for_limits(cls, max_num_batched_tokens: int, max_num_seqs: int) -> Buckets:
        heads = ladder(max_num_seqs)
        return cls(ladder(max_num_batched_tokens), heads, sparse(heads))
