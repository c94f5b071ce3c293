"""Tools in the bodies of /v1/chat/completions: today's fields, and `functions`, which came before them."""

from __future__ import annotations

from server.answers.parsers import AnswerParsers
from server.answers.tools.choice import ToolUse, tool_use
from server.errors import bad_request
from server.openai.schema import ChatRequest


def chat_tool_use(body: ChatRequest, parsers: AnswerParsers) -> ToolUse:
    """Raises ApiError, naming the field: also for tools that a model knows no way to call."""
    use = _tool_use(body)
    if use.active and not use.forced and parsers.tools is None:
        raise bad_request(
            "This model's chat template shows no format of tool calls. Start the server with --tool-call-parser NAME, "
            "force a call with tool_choice, or leave the tools out.",
            "functions" if use.legacy else "tools",
        )
    return use


def _tool_use(body: ChatRequest) -> ToolUse:
    if body.functions is not None or body.function_call is not None:
        if body.tools is not None or body.tool_choice is not None:
            raise bad_request("functions and tools exclude each other; send tools.", "functions")
        functions = [{"type": "function", "function": function} for function in body.functions or ()]
        return tool_use(functions, body.function_call, parallel=False, legacy=True)
    return tool_use(body.tools, body.tool_choice, parallel=body.parallel_tool_calls)
