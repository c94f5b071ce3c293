"""truncate_prompt_tokens."""

from __future__ import annotations

from jaxpaged import SamplingParams


def truncated(token_ids: list[int], truncate: int, max_model_len: int, params: SamplingParams) -> list[int]:
    """The last `truncate` tokens; -1 keeps what the context holds beside max_tokens (or beside one token)."""
    if truncate == -1:
        truncate = max(1, max_model_len - (params.max_tokens or 1))
    return token_ids[-truncate:]
