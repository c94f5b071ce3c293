"""A body of /v1/responses as a ChatCall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.errors import bad_request
from server.openai.chat_body import as_chat, check_names, errors_name
from server.openai.parse import ChatCall
from server.openai.schema import ChatRequest
from server.responses.items import Message, input_messages, with_instructions
from server.responses.schema import ResponsesRequest, ResponseTool, TextConfig

# chat's field -> where it came from
NAMES = {
    "messages": "input",
    "prompt": "input",
    "max_tokens": "max_output_tokens",
    "logprobs": "top_logprobs",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "truncate_prompt_tokens": "truncation",
}
# field -> values that ask for nothing
_UNSERVED: dict[str, tuple[Any, ...]] = {
    "background": (None, False),
    "conversation": (None,),
    "prompt": (None,),
    "context_management": (None, []),
    "moderation": (None,),
}


@dataclass(frozen=True, slots=True)
class ResponsesCall:
    """A parsed body. `history` is the conversation so far, without instructions, which hold for one answer only."""

    chat: ChatCall
    history: list[Message]


def parse_responses(
    body: ResponsesRequest, before: list[Message], parse_chat: Callable[[ChatRequest], ChatCall]
) -> ResponsesCall:
    """`before` are the messages that led to previous_response_id, its answer included. Raises ApiError."""
    check_names(body, NAMES)
    for name, nothing in _UNSERVED.items():
        if getattr(body, name) not in nothing:
            raise bad_request(f"{name} is not served by this version; leave it out.", name)
    history = before + input_messages(body.input)
    tools, choice = _tools(body)
    fields = {
        "messages": with_instructions(body.instructions, history),
        "max_tokens": body.max_output_tokens,
        **_logprobs(body),
        "response_format": _response_format(body.text),
        "reasoning_effort": body.reasoning.effort if body.reasoning else None,
        "chat_template_kwargs": body.chat_template_kwargs,
        "tools": tools,
        "tool_choice": choice,
        "parallel_tool_calls": body.parallel_tool_calls,
        "truncate_prompt_tokens": -1 if body.truncation == "auto" else None,
    }
    with errors_name(NAMES):
        return ResponsesCall(parse_chat(as_chat(body, fields)), history)


def _logprobs(body: ResponsesRequest) -> dict[str, Any]:
    if body.top_logprobs is None and "message.output_text.logprobs" not in (body.include or ()):
        return {}
    return {"logprobs": True, "top_logprobs": body.top_logprobs or 0}


def _response_format(text: TextConfig | None) -> dict[str, Any] | None:
    """text.format has the fields of a json_schema beside its type; response_format has them one level below."""
    if text is None or text.format is None:
        return None
    kind = text.format.get("type")
    rest = {name: value for name, value in text.format.items() if name != "type"}
    return {"type": kind, "json_schema": rest} if kind == "json_schema" else text.format


def _tools(body: ResponsesRequest) -> tuple[list[dict[str, Any]] | None, str | dict[str, Any] | None]:
    """Tools and the choice among them as chats have them."""
    choice = body.tool_choice
    allowed = None
    if isinstance(choice, dict):
        match choice.get("type"):
            case "function":
                choice = {"type": "function", "function": {"name": choice.get("name")}}
            case "allowed_tools":
                allowed = _allowed(choice)
                choice = choice.get("mode", "auto")
            case _:
                raise bad_request("tool_choice must be a text, a function or allowed_tools.", "tool_choice")
    tools = [_function(tool, index) for index, tool in enumerate(body.tools or ())]
    if allowed is not None:
        tools = [tool for tool in tools if tool["function"]["name"] in allowed]
    return tools or None, choice


def _allowed(choice: dict[str, Any]) -> set[str]:
    tools = choice.get("tools")
    if choice.get("mode") not in ("auto", "required") or not isinstance(tools, list):
        raise bad_request("tool_choice of type allowed_tools needs mode (auto, required) and tools.", "tool_choice")
    return {str(tool.get("name")) for tool in tools if isinstance(tool, dict)}


def _function(tool: ResponseTool, index: int) -> dict[str, Any]:
    if tool.type != "function":
        raise bad_request(f"tools.{index}: tools of type {tool.type[:64]!r} are not served; send functions.", "tools")
    if tool.name is None:
        raise bad_request(f"tools.{index}: a function needs a name.", "tools")
    return {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}
