"""Where one sequence stands in its grammar, and what it may say next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

MaskWords = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Mask:
    """Bit i of `words` says whether token i may follow; bits of tokens that end a sequence are not set.

    accepting: the answer may end here. `error` says why nothing can be said any more, for a grammar that has become too
    complex or leads nowhere.
    """

    words: MaskWords
    accepting: bool = False
    error: str | None = None

    @property
    def complete(self) -> bool:
        """The answer is whole, and nothing may follow."""
        return self.accepting and not self.words.any()


@dataclass(slots=True)
class Constraint:
    """A matcher that has taken what the sequence has said. Not thread-safe: one call at a time."""

    matcher: LLMatcher
    tokenizer: LLTokenizer

    def advance(self, tokens: Sequence[int]) -> Mask:
        """Take tokens that the sequence has said, none of them an end token; what may follow. May take milliseconds."""
        if tokens and not self.matcher.consume_tokens(list(tokens)):
            return self._failed()
        if self.matcher.is_stopped():
            return self._failed() if self.matcher.is_error() else Mask(self._no_words(), accepting=True)
        accepting = self.matcher.is_accepting()
        words = np.frombuffer(self.matcher.compute_bitmask(), np.int32).copy()
        if self.matcher.is_error():
            return self._failed()
        set_bits(words, self.tokenizer.eos_tokens, allowed=False)
        return Mask(words, accepting) if accepting or words.any() else self._failed()

    def rollback(self, count: int) -> None:
        """Take back the last `count` tokens (guesses that did not hold)."""
        self.matcher.rollback(count)

    def copy(self) -> Constraint:
        """One for another sequence that has said the same."""
        return Constraint(self.matcher.deep_copy(), self.tokenizer)

    def _failed(self) -> Mask:
        reason = self.matcher.get_error().strip().split("\n")[0] or "no token can follow"
        return Mask(self._no_words(), error=f"its grammar allows nothing more ({reason[:200]})")

    def _no_words(self) -> MaskWords:
        return np.zeros(-(-self.tokenizer.vocab_size // 32), np.int32)


def set_bits(words: MaskWords, tokens: Sequence[int], *, allowed: bool) -> None:
    """Allow tokens in a mask, or forbid them; tokens outside it are left out."""
    bits = words.view(np.uint32)
    for token in tokens:
        word, bit = divmod(token, 32)
        if word < len(bits):
            bits[word] = bits[word] | np.uint32(1 << bit) if allowed else bits[word] & ~np.uint32(1 << bit)
