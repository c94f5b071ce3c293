"""The normal form of a conversation: what clients of every dialect send, as chat templates were written for it.

As in vLLM: no content is "", an empty list of tool calls is none, arguments are objects (what is no JSON object is {}).
A field that is null counts as not sent. Content stays a text or becomes a list of {"type": "text", "text": ...}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxpaged.errors import RequestError

_REASONING = ("reasoning", "reasoning_content")  # OpenRouter and vLLM say the first, templates read the second
# kind of a text part -> its field that holds the text
_TEXT_PARTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
}


def normal_conversation(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Checked copies in the normal form. Raises RequestError, naming the message."""
    return [_normal_message(message, index) for index, message in enumerate(messages)]


def content_texts(content: str | Sequence[Mapping[str, Any]]) -> list[str]:
    """The texts of a content in the normal form."""
    return [content] if isinstance(content, str) else [part["text"] for part in content]


def _normal_message(message: Mapping[str, Any], index: int) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise RequestError(f"messages[{index}] must be an object with a role (a string) and content.", "messages")
    normal = {name: value for name, value in message.items() if value is not None}
    refusal = normal.get("refusal")  # what OpenAI's models say in place of content
    normal["content"] = _content(normal.get("content", refusal if isinstance(refusal, str) else ""), index)
    _rename_functions(normal)
    if normal["role"] == "tool":  # templates take a tool's result as one text
        normal["content"] = "\n".join(content_texts(normal["content"]))
    calls = normal.pop("tool_calls", None)
    if calls:
        normal["tool_calls"] = _tool_calls(calls, index)
    thought = next((normal[name] for name in _REASONING if normal.get(name)), None)
    if thought is not None:
        normal |= dict.fromkeys(_REASONING, thought)
    return normal


def _rename_functions(message: dict[str, Any]) -> None:
    """OpenAI's functions, which came before tools, as tools."""
    call = message.pop("function_call", None)
    if isinstance(call, Mapping) and not message.get("tool_calls"):
        message["tool_calls"] = [{"id": call.get("name"), "type": "function", "function": call}]
    if message["role"] == "function":
        message |= {"role": "tool", "tool_call_id": message.get("name")}


def _content(content: object, index: int) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or isinstance(content, bytes | bytearray):
        raise RequestError(f"messages[{index}].content must be a string or a list of parts.", "messages")
    parts = [_part(part, index) for part in content]
    return [part for part in parts if part is not None] or ""


def _part(part: object, index: int) -> dict[str, Any] | None:
    """A part of text; None for one whose text is null. Its other fields stay: a template may know them."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    field = _TEXT_PARTS.get(kind) if isinstance(part, Mapping) and isinstance(kind, str) else None
    if field is None or not isinstance(part, Mapping) or not isinstance(part.get(field, ""), str | None):
        raise RequestError(
            f"messages[{index}] has a content part of type {str(kind)[:64]!r}; this model reads text only.", "messages"
        )
    text = part.get(field)
    rest = {name: value for name, value in part.items() if name != field}
    return None if text is None else {**rest, "type": "text", "text": text}


def _tool_calls(calls: object, index: int) -> list[dict[str, Any]]:
    if not isinstance(calls, list | tuple):
        raise RequestError(f"messages[{index}].tool_calls must be a list.", "messages")
    return [_tool_call(call, index) for call in calls]


def _tool_call(call: object, index: int) -> dict[str, Any]:
    """A call of a function; one of a custom tool, whose input is free text, as one of a function that takes it."""
    fields = dict(call) if isinstance(call, Mapping) else {}
    custom = fields.pop("custom", None) if fields.get("type") == "custom" else None
    if isinstance(custom, Mapping):
        arguments = {"input": custom.get("input") or ""}
        fields |= {"type": "function", "function": {"name": custom.get("name"), "arguments": arguments}}
    function = fields.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RequestError(
            f"messages[{index}].tool_calls must hold objects with a function that has a name.", "messages"
        )
    return {**fields, "function": {**function, "arguments": _arguments(function.get("arguments"))}}


def _arguments(arguments: object) -> dict[str, Any]:
    """{} for what is no JSON object: a call that was cut off must not end its conversation."""
    import msgspec  # strict, and not there where only the engine runs

    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, RecursionError, ValueError):
            return {}
    return dict(arguments) if isinstance(arguments, Mapping) else {}
