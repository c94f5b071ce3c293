"""What a response says of its request."""

from __future__ import annotations

from typing import Any

from jaxpaged import SamplingParams
from server.responses.schema import ResponsesRequest, ResponseTool

# fields that clients look for, and nothing here fills
_NOT_SAID = dict.fromkeys(
    (
        "conversation",
        "prompt",
        "prompt_cache_key",
        "safety_identifier",
        "service_tier",
        "input_messages",
        "output_messages",
        "kv_transfer_params",
    )
)


def request_echo(body: ResponsesRequest, params: SamplingParams) -> dict[str, Any]:
    """The fields of a response that repeat its request, defaults filled in."""
    text = body.text.model_dump(exclude_none=True) if body.text else {}
    reasoning = body.reasoning
    return {
        "background": bool(body.background),
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": body.max_tool_calls,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "reasoning": {
            "effort": reasoning.effort if reasoning else None,
            "summary": reasoning.summary if reasoning else None,
        },
        "store": body.store is not False,
        "temperature": params.temperature,
        "text": {"format": {"type": "text"}, **text},
        "tool_choice": body.tool_choice or "auto",
        "tools": [_tool(tool) for tool in body.tools or ()],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": params.top_p,
        "truncation": body.truncation or "disabled",
        "user": body.user,
        **_NOT_SAID,
    }


def _tool(tool: ResponseTool) -> dict[str, Any]:
    if tool.type != "function":
        return tool.model_dump(exclude_unset=True)
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
