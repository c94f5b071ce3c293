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
    """Sizes of the backbone (`tokens`), of the logits (`logit_rows`), of the sampler for common sampling and for the
    rest, and of logits that are masked for structured output.

    sample_group: the sampler works off so many rows at a time, as many times as there are rows; None: all at once.
    """

    tokens: tuple[int, ...]
    logit_rows: tuple[int, ...]
    samples: tuple[int, ...]
    rare_samples: tuple[int, ...]
    masks: tuple[int, ...]
    sample_group: int | None = None

    @classmethod
    def for_limits(cls, max_num_batched_tokens: int, max_num_seqs: int, sample_group: int | None = None) -> Buckets:
        """With `sample_group` one size of the sampler serves all: sampling programs are the slowest to compile."""
        tokens, logit_rows = ladder(max_num_batched_tokens), ladder(max_num_seqs)
        if sample_group is None:
            return cls(tokens, logit_rows, logit_rows, sparse(logit_rows), sparse(logit_rows))
        return cls(
            tokens, logit_rows, logit_rows[-1:], logit_rows[-1:], sparse(logit_rows), min(sample_group, max_num_seqs)
        )
