"""How much text a request brings: long ones are worked on in a thread, so that others are not held up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxpaged.frontend.text_worker import LONGEST_INLINE
from jaxpaged.text.chat_template import ChatOptions, Message
from jaxpaged.text.prompts import PromptType


def prompt_characters(prompt: PromptType) -> int:
    """Characters of its text, or numbers of its embeddings."""
    embeds = prompt.get("prompt_embeds") if isinstance(prompt, Mapping) else None
    if isinstance(embeds, np.ndarray):
        return int(embeds.size)
    text = prompt.get("prompt") if isinstance(prompt, Mapping) and "prompt_token_ids" not in prompt else prompt
    return len(text) if isinstance(text, str) else 0


def chat_characters(messages: Sequence[Message], options: ChatOptions | None = None) -> int:
    """About how much there is to render, arguments of calls and tools included; it is counted up to LONGEST_INLINE."""
    total = 0
    waiting: list[Any] = [messages]
    if options is not None:
        waiting += [options.tools, options.template_kwargs]
    while waiting and total <= LONGEST_INLINE:
        value = waiting.pop()
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, Mapping | list | tuple):
            total += len(value)
            waiting += value.values() if isinstance(value, Mapping) else value
    return total
