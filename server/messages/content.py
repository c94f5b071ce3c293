"""Content blocks of /v1/messages as chat messages, and an answer's blocks as content blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from server.answers.blocks import Block, Kind
from server.errors import ApiError, bad_request
from server.messages.schema import ContentBlock, MessageParam, TextBlock

Message = dict[str, Any]


def chat_messages(system: str | Sequence[TextBlock] | None, messages: Sequence[MessageParam]) -> list[Message]:
    """The conversation as a chat's. Raises ApiError, naming the message."""
    found: list[Message] = []
    text = system if isinstance(system, str) or system is None else "\n".join(block.text for block in system)
    if text:
        found.append({"role": "system", "content": text})
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
            case "redacted_thinking":
                pass  # nobody here can read it
            case "tool_use":
                calls.append(_call(block, index))
                names[calls[-1]["id"]] = calls[-1]["function"]["name"]
            case _:
                raise _refused(index, f"content blocks of type {block.type[:64]!r} are not taken from the assistant")
    message: Message = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _call(block: ContentBlock, index: int) -> dict[str, Any]:
    name = _need(block.name, "name", block, index)
    arguments = msgspec.json.encode(block.input or {}).decode()
    call_id = _need(block.id, "id", block, index)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _user(role: str, blocks: Sequence[ContentBlock], index: int, names: dict[str, str]) -> list[Message]:
    """Results of tools are messages of their own; texts between them are the user's."""
    messages: list[Message] = []
    for block in blocks:
        if block.type == "tool_result":
            messages.append(_result(block, index, names))
        elif block.type == "text":
            text = _need(block.text, "text", block, index)
            if messages and messages[-1]["role"] == role:
                messages[-1]["content"].append({"type": "text", "text": text})
            else:
                messages.append({"role": role, "content": [{"type": "text", "text": text}]})
        else:
            raise _refused(index, f"content blocks of type {block.type[:64]!r} are not taken; this model reads text")
    return messages or [{"role": role, "content": ""}]


def _result(block: ContentBlock, index: int, names: dict[str, str]) -> Message:
    tool_use_id = _need(block.tool_use_id, "tool_use_id", block, index)
    content = block.content or ""
    if not isinstance(content, str):
        for part in content:
            if part.get("type") != "text" or not isinstance(part.get("text"), str):
                kind = str(part.get("type"))[:64]
                raise _refused(index, f"a tool_result with a part of type {kind!r} is not taken; this model reads text")
        content = "\n".join(part["text"] for part in content)
    message: Message = {"role": "tool", "tool_call_id": tool_use_id, "content": content}
    if tool_use_id in names:
        message["name"] = names[tool_use_id]
    return message


def _need(value: str | None, name: str, block: ContentBlock, index: int) -> str:
    if value is None:
        raise _refused(index, f"a content block of type {block.type!r} needs {name}")
    return value


def _refused(index: int, why: str) -> ApiError:
    return bad_request(f"messages.{index}: {why}.", f"messages.{index}")
