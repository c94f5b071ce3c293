"""Content blocks of /v1/messages as chat messages, and an answer's blocks as content blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from server.answers.blocks import Block, Kind
from server.messages.schema import ContentBlock, MessageParam, TextBlock
from server.messages.texts import block_text, refused

Message = dict[str, Any]
# what only Anthropic's server can read, or has run: its results are for its own models
_SERVER_USES = ("server_tool_use", "mcp_tool_use", "redacted_thinking")


def chat_messages(system: str | Sequence[TextBlock] | None, messages: Sequence[MessageParam]) -> list[Message]:
    """The conversation as a chat's. Raises ApiError, naming the message."""
    found: list[Message] = []
    if system:
        texts = system if isinstance(system, str) else [{"type": "text", "text": block.text} for block in system]
        found.append({"role": "system", "content": texts})
    names: dict[str, str] = {}  # id of a tool's use -> the tool
    for index, message in enumerate(messages):
        if isinstance(message.content, str):
            found.append({"role": message.role, "content": message.content})
        elif message.role == "assistant":
            found.append(_assistant(message.content, index, names))
        else:
            found += _user(message.role, message.content, index, names)
    return found


def content_block(block: Block, *, show_thinking: bool = True) -> dict[str, Any]:
    """A block of an answer. A call that was cut off has no input."""
    match block.kind:
        case Kind.REASONING:
            return {"type": "thinking", "thinking": block.text if show_thinking else "", "signature": ""}
        case Kind.TEXT:
            return {"type": "text", "text": block.text, "citations": None}
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": _input(block.text)}


def _input(arguments: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _assistant(blocks: Sequence[ContentBlock], index: int, names: dict[str, str]) -> Message:
    texts, thoughts, calls = [], [], []
    for block in blocks:
        match block.type:
            case "text":
                texts.append(_need(block.text, "text", block, index))
            case "thinking":
                thoughts.append(_need(block.thinking, "thinking", block, index))
            case "tool_use":
                calls.append(_call(block, index))
                names[calls[-1]["id"]] = calls[-1]["function"]["name"]
            case _ if block.type not in _SERVER_USES and not block.type.endswith("_tool_result"):
                raise refused(index, f"content blocks of type {block.type[:64]!r} are not taken from the assistant")
    message: Message = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _call(block: ContentBlock, index: int) -> dict[str, Any]:
    name = _need(block.name, "name", block, index)
    arguments = msgspec.json.encode(block.input if isinstance(block.input, dict) else {}).decode()
    call_id = _need(block.id, "id", block, index)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _user(role: str, blocks: Sequence[ContentBlock], index: int, names: dict[str, str]) -> list[Message]:
    """Results of tools are messages of their own; texts between them are the user's."""
    messages: list[Message] = []
    for block in blocks:
        if block.type == "tool_result":
            messages.append(_result(block, index, names))
            continue
        part = {"type": "text", "text": block_text(block.model_dump(exclude_none=True), index)}
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"].append(part)
        else:
            messages.append({"role": role, "content": [part]})
    return messages or [{"role": role, "content": ""}]


def _result(block: ContentBlock, index: int, names: dict[str, str]) -> Message:
    tool_use_id = _need(block.tool_use_id, "tool_use_id", block, index)
    content = block.content or ""
    if not isinstance(content, str):
        parts = content if isinstance(content, list) else [content]
        content = "\n".join(block_text(part, index) for part in parts)
    message: Message = {"role": "tool", "tool_call_id": tool_use_id, "content": content}
    if tool_use_id in names:
        message["name"] = names[tool_use_id]
    return message


def _need(value: str | None, name: str, block: ContentBlock, index: int) -> str:
    if value is None:
        raise refused(index, f"a content block of type {block.type!r} needs {name}")
    return value
