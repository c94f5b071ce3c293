"""Items of calls and of their results, functions' and other tools', as chat messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from server.responses.schema import InputItem
from server.responses.texts import Message, refused, text_of
from server.responses.tools import FunctionName

# what a server of OpenAI's tells about itself: no model has said it, and none can use it
_SKIPPED = frozenset(
    ("mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "tool_search_call", "tool_search_output")
)


class CallItems:
    """Makes messages of them, in the order of the conversation; results get the name of their call."""

    def __init__(self, before: Sequence[Message] = ()) -> None:
        calls = [call for message in before for call in message.get("tool_calls", ())]
        self._names: dict[str, str] = {call["id"]: call["function"]["name"] for call in calls}

    def messages(self, item: InputItem, kind: str, index: int) -> list[Message]:
        """Empty for calls whose result nobody but the server that ran them has seen. Raises ApiError."""
        if kind == "function_call" and not (item.call_id and item.name):
            raise refused(index, "a function_call needs call_id and name")
        if kind == "mcp_call" and item.id and item.name:
            return [self._call(item, item.id, item.name), *self._mcp_result(item, item.id)]
        if kind in _SKIPPED:
            return []
        if kind.endswith("_call"):
            return [self._call(item, item.call_id, item.name or kind.removesuffix("_call"))] if item.call_id else []
        if kind.endswith("_call_output"):
            return [self._result(item, kind, index)]
        known = "messages, calls, their outputs and reasoning"
        raise refused(index, f"items of type {kind[:64]!r} are not taken; send {known}")

    def _call(self, item: InputItem, call_id: str, name: str) -> Message:
        flat = FunctionName(name, item.namespace).flat()
        self._names[call_id] = flat
        return call_message(call_id, flat, _arguments(item))

    def _result(self, item: InputItem, kind: str, index: int) -> Message:
        call_id = item.call_id or (item.id if kind != "function_call_output" else None)
        if not call_id or item.output is None:
            raise refused(index, f"a {kind[:64]} needs call_id and output")
        if kind == "function_call_output" and not isinstance(item.output, dict):
            return self._result_message(call_id, text_of(item.output, index))
        return self._result_message(call_id, _as_text(item.output))

    def _mcp_result(self, item: InputItem, call_id: str) -> list[Message]:
        return [] if item.output is None else [self._result_message(call_id, _as_text(item.output))]

    def _result_message(self, call_id: str, content: str | list[dict[str, Any]]) -> Message:
        message: Message = {"role": "tool", "tool_call_id": call_id, "content": content}
        return {**message, "name": self._names[call_id]} if call_id in self._names else message


def call_message(call_id: str, name: str, arguments: str) -> Message:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _arguments(item: InputItem) -> str:
    """JSON text: a function's arguments, or what other calls hold in their place."""
    if isinstance(item.arguments, str):
        return item.arguments
    fields = {name: getattr(item, name) for name in ("input", "action", "operation")}
    given = {name: value for name, value in fields.items() if value is not None}
    return msgspec.json.encode(item.arguments if isinstance(item.arguments, dict) else given).decode()


def _as_text(output: object) -> str:
    """The texts of a list of text parts; other outputs as they are, or as JSON."""
    if isinstance(output, str):
        return output
    parts = output if isinstance(output, list) else []
    texts = [part.get("text") for part in parts]
    if texts and all(isinstance(text, str) for text in texts):
        return "\n".join(str(text) for text in texts)
    return msgspec.json.encode(output).decode()
