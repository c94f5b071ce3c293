"""How much text a request brings: long ones are worked on in a thread, so that others are not held up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxpaged.text.conversation import Message
from jaxpaged.text.prompts import PromptType


def prompt_characters(prompt: PromptType) -> int:
    text = prompt.get("prompt") if isinstance(prompt, Mapping) and "prompt_token_ids" not in prompt else prompt
    return len(text) if isinstance(text, str) else 0


def chat_characters(messages: Sequence[Message]) -> int:
    """About how much text there is to render; parts count by their text."""
    total = 0
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        for part in [content] if isinstance(content, str) else content or ():
            text = part.get("text") if isinstance(part, Mapping) else part
            total += len(text) if isinstance(text, str) else 0
    return total
