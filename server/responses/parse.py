"""A body of /v1/responses as a ChatCall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.errors import bad_request
from server.openai.chat_body import as_chat, check_names, errors_name
from server.openai.parse import ChatCall
from server.openai.schema import ChatRequest
from server.responses.items import input_messages, with_instructions
from server.responses.schema import ResponsesRequest, TextConfig
from server.responses.texts import Message
from server.responses.tools import FunctionName, chat_tools, function_names

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
    "conversation": (None,),
    "prompt": (None,),
    "context_management": (None, []),
    "moderation": (None,),
    "previous_input_messages": (None,),
    "previous_response": (None,),
    "enable_response_messages": (None, False),
    "mm_processor_kwargs": (None, {}),
}


@dataclass(frozen=True, slots=True)
class ResponsesCall:
    """A parsed body. `history` is the conversation so far, without instructions, which hold for one answer only.

    `names`: the model's names of functions in namespaces -> the client's.
    """

    chat: ChatCall
    history: list[Message]
    names: dict[str, FunctionName]


def parse_responses(
    body: ResponsesRequest, before: list[Message], parse_chat: Callable[[ChatRequest], ChatCall]
) -> ResponsesCall:
    """`before` are the messages that led to previous_response_id, its answer included. Raises ApiError."""
    check_names(body, NAMES)
    for name, nothing in _UNSERVED.items():
        if getattr(body, name) not in nothing:
            raise bad_request(f"{name} is not served by this version; leave it out.", name)
    history = before + input_messages(body.input, before)
    tools, choice = chat_tools(body)
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
        return ResponsesCall(parse_chat(as_chat(body, fields)), history, function_names(body))


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
