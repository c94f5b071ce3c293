"""A body of /v1/messages as a ChatCall."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from server.errors import bad_request
from server.messages.content import Message, chat_messages
from server.messages.schema import Conversation, MessagesRequest, Thinking, ToolChoice, ToolParam
from server.openai.chat_body import as_chat, check_names, errors_name
from server.openai.parse import ChatCall
from server.openai.schema import ChatRequest, Sampling

# chat's field -> where it came from
NAMES = {
    "prompt": "messages",
    "stop": "stop_sequences",
    "response_format": "output_config.format",
    "reasoning_effort": "output_config.effort",
}
_LONGEST = 2**31 - 1
_DATED = re.compile(r"[a-z0-9_]+_[0-9]{8}")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def parse_messages(
    body: Conversation, parse_chat: Callable[[ChatRequest], ChatCall], *, limits_thoughts: bool = False
) -> ChatCall:
    """`limits_thoughts`: thinking.budget_tokens is kept; otherwise it is only a hint. Raises ApiError."""
    sampling = body if isinstance(body, MessagesRequest) else Sampling()
    check_names(sampling, NAMES)
    for name in ("container", "mcp_servers"):
        if getattr(body, name):
            raise bad_request(f"{name} is not served by this version; leave it out.", name)
    if body.output_format is not None:
        raise bad_request("output_format is called output_config.format here.", "output_format")
    messages = chat_messages(body.system, body.messages)
    output = body.output_config
    form = output.format if output else None
    fields = {
        "messages": messages,
        **_continuation(messages),
        "stop": body.stop_sequences if isinstance(body, MessagesRequest) else None,
        "tools": [_function(tool, index) for index, tool in enumerate(body.tools or ()) if not _is_anthropics(tool)]
        or None,
        **_tool_choice(body.tool_choice),
        "response_format": form
        and {"type": "json_schema", "json_schema": {"name": "output", "schema": form.json_schema}},
        "reasoning_effort": output.effort if output else None,
        "chat_template_kwargs": _template_kwargs(body.chat_template_kwargs, body.thinking),
        "thinking_token_budget": _budget(sampling, body.thinking) if limits_thoughts else None,
    }
    with errors_name(NAMES):
        return parse_chat(as_chat(sampling, fields))


def _continuation(messages: list[Message]) -> dict[str, Any]:
    """An answer that begins with what the client says that the assistant has said."""
    last = messages[-1]
    if last["role"] != "assistant" or not last["content"] or "tool_calls" in last:
        return {}
    return {"continue_final_message": True, "add_generation_prompt": False}


def _is_anthropics(tool: ToolParam) -> bool:
    """What Anthropic's models were trained on or its server runs: its type has a date (web_search_20250305)."""
    return tool.type == "mcp_toolset" or _DATED.fullmatch(tool.type or "") is not None


def _function(tool: ToolParam, index: int) -> dict[str, Any]:
    if tool.type not in (None, "custom"):
        raise bad_request(f"tools.{index}: tools of type {tool.type[:64]!r} are not served; send your own.", "tools")
    if tool.name is None:
        raise bad_request(f"tools.{index}: a tool needs a name.", "tools")
    if tool.input_schema is None:
        raise bad_request(f"tools.{index}: a tool needs input_schema.", "tools")
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice | None) -> dict[str, Any]:
    if choice is None:
        return {}
    fields: dict[str, Any] = {"parallel_tool_calls": False} if choice.disable_parallel_tool_use else {}
    if choice.type != "tool":
        return {**fields, "tool_choice": _CHOICES[choice.type]}
    if choice.name is None:
        raise bad_request("tool_choice of type tool needs a name.", "tool_choice")
    return {**fields, "tool_choice": {"type": "function", "function": {"name": choice.name}}}


def _budget(sampling: Sampling, thinking: Thinking | None) -> int | None:
    """The smaller one where vLLM's own field is sent too, which may say that there is no limit."""
    if thinking is None or thinking.type != "enabled" or thinking.budget_tokens is None:
        return None
    own = sampling.thinking_token_budget
    if own is not None and own < -1:
        return own  # which is refused
    return min(thinking.budget_tokens, _LONGEST, _LONGEST if own in (None, -1) else own)


def _template_kwargs(kwargs: Mapping[str, Any] | None, thinking: Thinking | None) -> dict[str, Any] | None:
    """`thinking` is what templates call enable_thinking; without it the model does as it does."""
    if thinking is None or thinking.type == "adaptive":
        return dict(kwargs) if kwargs is not None else None
    return {"enable_thinking": thinking.type == "enabled", **(kwargs or {})}
