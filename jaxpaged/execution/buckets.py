"""The ladder of padded sizes. Every program's shape comes from here, so the set of programs is known before ready."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

# By the pool's layout: steps of up to so many tokens have backbones for decodes alone. A GPU pays for every kernel that
# it launches, and weights, not tokens, bound so small a step, so one with a chunk loses little in the next larger size.
DECODES_ONLY = MappingProxyType({"hopper": 64})
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

    decodes_only: sizes of `tokens` up to this, the largest aside, are for steps that compute one token of each
        sequence and need nothing of what attention does for chunks; a step with a chunk takes the next larger size.
    sample_group: the sampler works off so many rows at a time, as many times as there are rows; None: all at once.
    """

    tokens: tuple[int, ...]
    logit_rows: tuple[int, ...]
    samples: tuple[int, ...]
    rare_samples: tuple[int, ...]
    masks: tuple[int, ...]
    sample_group: int | None = None
    decodes_only: int = 0

    @classmethod
    def for_limits(
        cls, max_num_batched_tokens: int, max_num_seqs: int, sample_group: int | None = None, decodes_only: int = 0
    ) -> Buckets:
        """With `sample_group` one size of the sampler serves all: sampling programs are the slowest to compile."""
        tokens, logit_rows = ladder(max_num_batched_tokens), ladder(max_num_seqs)
        if sample_group is None:
            common, rare = logit_rows, sparse(logit_rows)
        else:
            common, rare, sample_group = logit_rows[-1:], logit_rows[-1:], min(sample_group, max_num_seqs)
        return cls(tokens, logit_rows, common, rare, sparse(logit_rows), sample_group, decodes_only)

    def holds_decodes_only(self, size: int) -> bool:
        """Whether the backbone of `size` tokens is one for steps without chunks."""
        return size <= self.decodes_only and size < self.tokens[-1]

    def of_step(self, tokens: int, only_decodes: bool) -> int:
        """The backbone for a step of so many tokens. Raises ValueError when none holds them."""
        size = choose(self.tokens, tokens)
        if only_decodes or not self.holds_decodes_only(size):
            return size
        return next(larger for larger in self.tokens if larger > size and not self.holds_decodes_only(larger))
