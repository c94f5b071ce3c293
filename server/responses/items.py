"""Input items of /v1/responses to chat messages, and an answer's blocks to output items."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from server.answers.blocks import Block, Kind
from server.responses.calls import CallItems, call_message
from server.responses.schema import InputItem
from server.responses.texts import Message, refused, text_of
from server.responses.tools import FunctionName

_ROLES = ("user", "assistant", "system", "developer")
NO_NAMES: Mapping[str, FunctionName] = {}
_PREFIXES = {Kind.REASONING: "rs", Kind.TEXT: "msg", Kind.TOOL: "fc"}


def input_messages(items: str | Sequence[InputItem], before: Sequence[Message] = ()) -> list[Message]:
    """What the client has sent, after `before`, as the messages of a chat. Raises ApiError, naming the item."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    messages: list[Message] = []
    calls = CallItems(before)
    for index, item in enumerate(items):
        kind = item.type or "message"
        if kind == "message":
            _add(messages, _message(item, index))
        elif kind == "reasoning":
            thought = _reasoning(item)
            if thought:  # another server's may be encrypted
                _add(messages, {"role": "assistant", "content": None, "reasoning_content": thought})
        else:
            for message in calls.messages(item, kind, index):
                _add(messages, message)
    return messages


def with_instructions(instructions: str | None, messages: list[Message]) -> list[Message]:
    """`instructions` before the conversation; rendering joins system messages where the template takes only one."""
    return [{"role": "system", "content": instructions}, *messages] if instructions else messages


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
                _add(messages, call_message(block.id, block.name, block.text))
    return messages


def item_id(kind: Kind) -> str:
    return f"{_PREFIXES[kind]}_{uuid.uuid4().hex}"


def output_item(
    block: Block,
    item_id: str,
    status: str,
    logprobs: list[dict[str, Any]] | None = None,
    names: Mapping[str, FunctionName] = NO_NAMES,
) -> dict[str, Any]:
    """A block as an item of a response's output; `names` are those that clients know functions by."""
    match block.kind:
        case Kind.REASONING:
            content = [content_part(block)] if block.text else []
            return {"id": item_id, "type": "reasoning", "summary": [], "content": content, "status": status}
        case Kind.TEXT:
            content = [] if status == "in_progress" else [content_part(block, logprobs)]
            return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}
    name = names.get(block.name, FunctionName(block.name))
    call = {"call_id": block.id, "name": name.name, "arguments": block.text}
    if name.namespace is not None:
        call["namespace"] = name.namespace
    return {"id": item_id, "type": "function_call", **call, "status": status}


def content_part(block: Block, logprobs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The content of reasoning or of a message."""
    if block.kind is Kind.REASONING:
        return {"type": "reasoning_text", "text": block.text}
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": logprobs or []}


def _message(item: InputItem, index: int) -> Message:
    if item.role not in _ROLES:
        raise refused(index, "role must be user, assistant, system or developer")
    if item.content is None:
        raise refused(index, "a message needs content, a text or a list of parts")
    return {"role": item.role, "content": text_of(item.content, index)}


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
