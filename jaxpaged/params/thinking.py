"""How long a thought may get: what an engine is told of a request's thinking_token_budget."""

from __future__ import annotations

from dataclasses import dataclass

Mark = tuple[int, ...]  # token ids, one or more


@dataclass(frozen=True, slots=True)
class ThinkingLimit:
    """Each thought may hold `budget` tokens between its marks; then `forced` is said, token by token.

    `begins`, `ends`: the marks as token ids, in every spelling; `forced` is one of the ends, or closes with one.
    `begun`: tokens of the thought that the prompt leaves open, None where it leaves none open.
    """

    budget: int
    forced: Mark
    begins: tuple[Mark, ...]
    ends: tuple[Mark, ...]
    begun: int | None = None
