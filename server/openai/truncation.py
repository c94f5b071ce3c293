"""truncate_prompt_tokens: prompts that are too long lose their beginning or their end."""

from __future__ import annotations

from dataclasses import dataclass

from jaxpaged import SamplingParams
from server.errors import bad_request
from server.openai.schema import Sampling


@dataclass(frozen=True, slots=True)
class Truncation:
    """How many tokens of a prompt are kept: -1 for what the context holds. By default the last ones."""

    tokens: int
    keeps_beginning: bool = False

    def apply(self, token_ids: list[int], max_model_len: int, params: SamplingParams) -> list[int]:
        """-1 keeps what the context holds beside max_tokens (or beside one token)."""
        tokens = self.tokens
        if tokens == -1:
            tokens = max(1, max_model_len - (params.max_tokens or 1))
        return token_ids[:tokens] if self.keeps_beginning else token_ids[-tokens:]


def truncation(body: Sampling) -> Truncation | None:
    """What a body asks for; truncation_side alone asks for nothing. Raises ApiError."""
    tokens = body.truncate_prompt_tokens
    if tokens is None:
        return None
    if tokens != -1 and tokens < 1:
        raise bad_request("truncate_prompt_tokens must be positive, or -1 for the context.", "truncate_prompt_tokens")
    return Truncation(tokens, keeps_beginning=body.truncation_side == "right")
