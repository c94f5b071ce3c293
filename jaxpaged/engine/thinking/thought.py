"""Where a sequence stands in its thoughts, by its tokens alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from jaxpaged.params.thinking import Mark, ThinkingLimit


@dataclass(slots=True)
class ThoughtProgress:
    """Outside of thoughts, or `length` tokens into one. `tail`: the last tokens since a mark."""

    limit: ThinkingLimit
    length: int | None
    tail: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, limit: ThinkingLimit) -> ThoughtProgress:
        """At the end of the prompt."""
        return cls(limit, limit.begun)

    def advance(self, tokens: Iterable[int]) -> None:
        """The sequence has said these."""
        for token in tokens:
            self.tail = [*self.tail[-self._longest :], token]
            if self.length is not None:
                self.length += 1
            if any(_ends_with(self.tail, mark) for mark in self._awaited):
                self.length = 0 if self.length is None else None
                self.tail = []

    def free(self) -> int:
        """How many tokens may follow whatever they are; with 0 the next one is next_forced()."""
        if self.length is None:  # a thought must be begun first
            nearest = min(len(mark) - _begun(self.tail, mark) for mark in self.limit.begins)
            return nearest + self.limit.budget
        return max(0, self.limit.budget - self.length)

    def next_forced(self) -> int:
        """The token that must follow: a mark that has been begun is gone on with."""
        forced = self.limit.forced
        return forced[_begun(self.tail, forced)]

    @property
    def _awaited(self) -> tuple[Mark, ...]:
        return self.limit.begins if self.length is None else self.limit.ends

    @property
    def _longest(self) -> int:
        return max(map(len, (self.limit.forced, *self._awaited)))


def _ends_with(tokens: Sequence[int], mark: Mark) -> bool:
    return len(tokens) >= len(mark) and tuple(tokens[len(tokens) - len(mark) :]) == mark


def _begun(tokens: Sequence[int], mark: Mark) -> int:
    """How many tokens of a mark, not all of them, the tokens end with."""
    longest = min(len(tokens), len(mark) - 1)
    return next(count for count in range(longest, -1, -1) if _ends_with(tokens, mark[:count]))
