"""Tools for templates that print them from a field of the system message, as text: Phi-4-mini's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jaxpaged.errors import RequestError

Conversation = list[dict[str, Any]]


def with_system_tools(conversation: Conversation, tools: Sequence[Mapping[str, Any]]) -> Conversation:
    """The conversation with its tools in the first message, unless the client has put some there itself."""
    if not tools:
        return conversation
    listed = _text([tool.get("function", tool) for tool in tools], "tools")
    leads = conversation[0]["role"] == "system"
    first = conversation[0] if leads else {"role": "system", "content": ""}
    return [{"tools": listed, **first}, *conversation[leads:]]


def with_written_calls(conversation: Conversation) -> Conversation:
    """The conversation with the calls of earlier answers as the model writes them, for a template that prints none."""
    return [_with_written_calls(message) for message in conversation]


def _with_written_calls(message: dict[str, Any]) -> dict[str, Any]:
    calls = [call["function"] for call in message.get("tool_calls", ())]
    if not calls:
        return message
    written = _text([{"name": call["name"], "arguments": call["arguments"]} for call in calls], "messages")
    content = message["content"]
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    return {**message, "content": f"{content}<|tool_call|>{written}<|/tool_call|>"}


def _text(value: object, param: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise RequestError(f"The {param} cannot be written as JSON: {error}", param) from error
