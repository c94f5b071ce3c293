"""How long a thought may get: what an engine is told of a request's thinking_token_budget."""

from __future__ import annotations

from dataclasses import dataclass

Mark = tuple[int, ...]  # token ids, one or more


@dataclass(frozen=True, slots=True)
class ThinkingLimit:
    """Each thought may hold `budget` tokens between its marks; then its end is forced, token by token.

    `begins`, `ends`: the marks as token ids, in every spelling. forced[i] is one of the ends, or closes with one, and
    ends a thought that begins[i] has begun. `begun`: tokens of the thought that the prompt leaves open, with
    begins[opening]; None where it leaves none open.
    """

    budget: int
    begins: tuple[Mark, ...]
    forced: tuple[Mark, ...]
    ends: tuple[Mark, ...]
    begun: int | None = None
    opening: int = 0
