"""Input items of /v1/responses to chat messages, and an answer's blocks to output items."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from server.answers.blocks import Block, Kind
from server.errors import ApiError, bad_request
from server.responses.schema import InputItem

Message = dict[str, Any]
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_TEXT_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
_PREFIXES = {Kind.REASONING: "rs", Kind.TEXT: "msg", Kind.TOOL: "fc"}


def input_messages(items: str | Sequence[InputItem]) -> list[Message]:
    """What the client has sent as the messages of a chat. Raises ApiError, naming the item."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    messages: list[Message] = []
    names: dict[str, str] = {}  # call id -> function
    for index, item in enumerate(items):
        kind = item.type or "message"
        if kind == "message":
            _add(messages, _message(item, index))
        elif kind == "function_call":
            names[item.call_id or ""] = item.name or ""
            _add(messages, _call(item, index))
        elif kind == "function_call_output":
            messages.append(_output(item, index, names))
        elif kind == "reasoning":
            _add(messages, {"role": "assistant", "content": None, "reasoning_content": _reasoning(item)})
        else:
            raise _refused(index, f"items of type {kind[:64]!r} are not taken; send messages, functions' and reasoning")
    return messages


def with_instructions(instructions: str | None, messages: list[Message]) -> list[Message]:
    """`instructions` and all leading system messages as one: templates take a single one, at the beginning."""
    count = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    texts = [instructions] if instructions else []
    texts += [message["content"] for message in messages[:count]]
    system = [{"role": "system", "content": "\n\n".join(texts)}] if texts else []
    return system + messages[count:]


def answer_messages(blocks: Iterable[Block]) -> list[Message]:
    """An answer as the messages of a chat that goes on."""
    messages: list[Message] = []
    for block in blocks:
        match block.kind:
            case Kind.REASONING:
                _add(messages, {"role": "assistant", "content": None, "reasoning_content": block.text})
            case Kind.TEXT:
                _add(messages, {"role": "assistant", "content": block.text})
            case Kind.TOOL:
                _add(messages, _tool_calls(block.id, block.name, block.text))
    return messages


def item_id(kind: Kind) -> str:
    return f"{_PREFIXES[kind]}_{uuid.uuid4().hex}"


def output_item(
    block: Block, item_id: str, status: str, logprobs: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """A block as an item of a response's output."""
    match block.kind:
        case Kind.REASONING:
            content = [content_part(block)] if block.text else []
            return {"id": item_id, "type": "reasoning", "summary": [], "content": content, "status": status}
        case Kind.TEXT:
            content = [] if status == "in_progress" else [content_part(block, logprobs)]
            return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}
    call = {"call_id": block.id, "name": block.name, "arguments": block.text}
    return {"id": item_id, "type": "function_call", **call, "status": status}


def content_part(block: Block, logprobs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The content of reasoning or of a message."""
    if block.kind is Kind.REASONING:
        return {"type": "reasoning_text", "text": block.text}
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": logprobs or []}


def _message(item: InputItem, index: int) -> Message:
    role = _ROLES.get(item.role or "")
    if role is None:
        raise _refused(index, "role must be user, assistant, system or developer")
    if item.content is None:
        raise _refused(index, "a message needs content, a text or a list of parts")
    return {"role": role, "content": _text(item.content, index)}


def _text(content: str | list[dict[str, Any]], index: int) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        key = _TEXT_PARTS.get(str(part.get("type")))
        text = part.get(key) if key else None
        if not isinstance(text, str):
            kind = str(part.get("type"))[:64]
            raise _refused(index, f"a content part of type {kind!r} is not taken; this model reads text only")
        texts.append(text)
    return "\n".join(texts)


def _call(item: InputItem, index: int) -> Message:
    if not item.call_id or not item.name:
        raise _refused(index, "a function_call needs call_id and name")
    return _tool_calls(item.call_id, item.name, item.arguments or "{}")


def _tool_calls(call_id: str, name: str, arguments: str) -> Message:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _output(item: InputItem, index: int, names: dict[str, str]) -> Message:
    if not item.call_id or item.output is None:
        raise _refused(index, "a function_call_output needs call_id and output")
    message = {"role": "tool", "tool_call_id": item.call_id, "content": _text(item.output, index)}
    if names.get(item.call_id):
        message["name"] = names[item.call_id]
    return message


def _reasoning(item: InputItem) -> str:
    parts = item.content if isinstance(item.content, list) else []
    parts = parts or item.summary or []
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _add(messages: list[Message], message: Message) -> None:
    """Reasoning, a text and calls that follow each other are one message of the assistant."""
    last = messages[-1] if messages else None
    joins = last is not None and last["role"] == message["role"] == "assistant"
    if last is None or not joins or (message["content"] is not None and (last["content"] or "tool_calls" in last)):
        messages.append(message)
        return
    if "reasoning_content" in message and (last["content"] is not None or "tool_calls" in last):
        messages.append(message)
        return
    if "tool_calls" in message:
        last.setdefault("tool_calls", []).extend(message["tool_calls"])
    if message["content"] is not None:
        last["content"] = message["content"]
    if "reasoning_content" in message:
        last["reasoning_content"] = last.get("reasoning_content", "") + message["reasoning_content"]


def _refused(index: int, why: str) -> ApiError:
    return bad_request(f"input.{index}: {why}.", f"input.{index}")
