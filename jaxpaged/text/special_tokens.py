"""The special tokens that a tokenizer puts around a text, as bos and eos."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def with_special_tokens(tokenizer: PreTrainedTokenizerFast, token_ids: list[int]) -> list[int]:
    """Token ids of a text with what the tokenizer adds before and after one."""
    around: list[int] = tokenizer.encode("a")
    plain: list[int] = tokenizer.encode("a", add_special_tokens=False)
    starts = (start for start in range(len(around)) if around[start : start + len(plain)] == plain)
    start = next(starts, len(around))
    return [*around[:start], *token_ids, *around[start + len(plain) :]]
