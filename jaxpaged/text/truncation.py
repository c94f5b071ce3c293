"""Prompts that are too long lose their beginning or their end: vLLM's truncate_prompt_tokens and truncation_side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxpaged.errors import RequestError
from jaxpaged.params.values import integer

SIDES = ("left", "right")


@dataclass(frozen=True, slots=True)
class Truncation:
    """How many tokens of a prompt are kept, -1 for what the context holds: the last ones, or the first.

    `side` is the one that is cut. Raises RequestError.
    """

    tokens: int
    side: str | None = None

    def __post_init__(self) -> None:
        tokens = integer("truncate_prompt_tokens", self.tokens, -1, 2**63 - 1)
        if tokens == 0:
            raise RequestError(
                "truncate_prompt_tokens must be positive, or -1 for the context.", "truncate_prompt_tokens"
            )
        if self.side not in (None, *SIDES):
            raise RequestError("truncation_side must be 'left' or 'right'.", "truncation_side")

    def apply(self, token_ids: list[int], max_model_len: int, max_tokens: int | None) -> list[int]:
        """-1 keeps what the context holds beside max_tokens (or beside one token)."""
        tokens = max(1, max_model_len - (max_tokens or 1)) if self.tokens == -1 else self.tokens
        return token_ids[:tokens] if self.side == "right" else token_ids[-tokens:]


def truncation_of(fields: dict[str, Any]) -> Truncation | None:
    """Takes both fields out of `fields`; a side alone asks for nothing. Raises RequestError."""
    tokens, side = fields.pop("truncate_prompt_tokens", None), fields.pop("truncation_side", None)
    found = Truncation(-1 if tokens is None else tokens, side)
    return None if tokens is None else found
