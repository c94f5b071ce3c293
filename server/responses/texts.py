"""The texts of input items."""

from __future__ import annotations

from typing import Any

from server.errors import ApiError, bad_request

Message = dict[str, Any]
_TEXT_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}


def text_of(content: str | list[dict[str, Any]], index: int) -> str | list[dict[str, Any]]:
    """A content as chats have it: a text, or several parts of text. Raises ApiError, naming the item."""
    if isinstance(content, str):
        return content
    texts = [_text(part, index) for part in content]
    return [{"type": "text", "text": text} for text in texts] if len(texts) > 1 else "".join(texts)


def refused(index: int, why: str) -> ApiError:
    return bad_request(f"input.{index}: {why}.", f"input.{index}")


def _text(part: dict[str, Any], index: int) -> str:
    field = _TEXT_PARTS.get(str(part.get("type")))
    text = part.get(field) if field else None
    if not isinstance(text, str):
        kind = str(part.get("type"))[:64]
        raise refused(index, f"a content part of type {kind!r} is not taken; this model reads text only")
    return text
