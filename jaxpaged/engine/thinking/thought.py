"""Where a sequence stands in its thoughts, by its tokens alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from jaxpaged.params.thinking import Mark, ThinkingLimit


@dataclass(slots=True)
class ThoughtProgress:
    """Outside of thoughts, or `length` tokens into one, which `forced` ends. `tail`: the last tokens since a mark."""

    limit: ThinkingLimit
    length: int | None
    forced: Mark
    tail: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, limit: ThinkingLimit) -> ThoughtProgress:
        """At the end of the prompt."""
        return cls(limit, limit.begun, limit.forced[limit.opening])

    def advance(self, tokens: Iterable[int]) -> None:
        """The sequence has said these."""
        for token in tokens:
            self.tail = [*self.tail, token][-self._longest :]
            if self.length is None:
                self._look_for_begin()
            else:
                self.length += 1
                if any(_ends_with(self.tail, mark) for mark in self.limit.ends):
                    self.length, self.tail = None, []

    def free(self) -> int:
        """How many tokens may follow whatever they are; with 0 the next one is next_forced()."""
        if self.length is None:  # a thought must be begun first
            nearest = min(len(mark) - _begun(self.tail, mark) for mark in self.limit.begins)
            return nearest + self.limit.budget
        return max(0, self.limit.budget - self.length)

    def next_forced(self) -> int:
        """The token that must follow: a mark that has been begun is gone on with."""
        return self.forced[_begun(self.tail, self.forced)]

    def _look_for_begin(self) -> None:
        for mark, forced in zip(self.limit.begins, self.limit.forced, strict=True):
            if _ends_with(self.tail, mark):
                self.length, self.forced, self.tail = 0, forced, []
                return

    @property
    def _longest(self) -> int:
        marks = self.limit.begins if self.length is None else (self.forced, *self.limit.ends)
        return max(map(len, marks))


def _ends_with(tokens: Sequence[int], mark: Mark) -> bool:
    return len(tokens) >= len(mark) and tuple(tokens[len(tokens) - len(mark) :]) == mark


def _begun(tokens: Sequence[int], mark: Mark) -> int:
    """How many tokens of a mark, not all of them, the tokens end with."""
    longest = min(len(tokens), len(mark) - 1)
    return next(count for count in range(longest, -1, -1) if _ends_with(tokens, mark[:count]))
