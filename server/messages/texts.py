"""The texts of content blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.errors import ApiError, bad_request


def block_text(block: Mapping[str, Any], index: int) -> str:
    """What a block of a user's message or of a tool's result says. Raises ApiError, naming the message."""
    kind, source = block.get("type"), block.get("source")
    text: object = None
    if kind == "text":
        text = block.get("text")
    elif kind == "tool_reference":
        text = block.get("tool_name")
    elif kind == "search_result":
        text = _titled(block, _inner_text(block.get("content")))
    elif kind == "document" and isinstance(source, Mapping) and source.get("type") in ("text", "content"):
        text = _titled(block, source.get("data") or _inner_text(source.get("content")))
    if isinstance(text, str):
        return text
    if kind == "text":
        raise refused(index, "a content block of type 'text' needs text")
    raise refused(index, f"content blocks of type {str(kind)[:64]!r} are not taken; this model reads text")


def refused(index: int, why: str) -> ApiError:
    return bad_request(f"messages.{index}: {why}.", f"messages.{index}")


def _inner_text(content: object) -> str | None:
    """The texts of a document's own content; None where there is something else in it."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [None]
    texts = [part.get("text") if isinstance(part, Mapping) else None for part in parts]
    return "\n".join(str(text) for text in texts) if all(isinstance(text, str) for text in texts) else None


def _titled(block: Mapping[str, Any], text: object) -> str | None:
    title = block.get("title")
    if not isinstance(text, str):
        return None
    return f"{title}\n{text}" if isinstance(title, str) and title else text
