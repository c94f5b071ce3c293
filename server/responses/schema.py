"""The wire types of /v1/responses.

What the sampling parameters of /v1/chat/completions mean there they mean here. Hints (user, service_tier,
prompt_cache_*, safety_identifier, verbosity, reasoning.summary, include of what no tool here returns) are ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from server.openai.schema import Body, Int64, Sampling

Id = Annotated[str, Field(min_length=1, max_length=128)]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class InputItem(Body):
    """A message (its type may be left out), a call, its output, or reasoning; items.py says who needs what."""

    type: str | None = None
    id: str | None = None
    role: str | None = None
    content: str | list[dict[str, Any]] | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: Any = None
    input: Any = None
    action: Any = None
    operation: Any = None
    output: str | list[dict[str, Any]] | dict[str, Any] | None = None
    summary: list[dict[str, Any]] | None = None


class Reasoning(Body):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class TextConfig(Body):
    format: dict[str, Any] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponseTool(Body):
    """tools.py says which are served; the others keep all of their fields, to be shown again."""

    model_config = Body.model_config | {"extra": "allow"}

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=1024)] | None = None


class ResponsesRequest(Sampling):
    """POST /v1/responses."""

    input: str | Annotated[list[InputItem], Field(min_length=1, max_length=16384)]
    instructions: str | None = None
    max_output_tokens: Int64 | None = None
    previous_response_id: Id | None = None
    store: bool | None = None
    include: Annotated[list[str], Field(max_length=64)] | None = None
    metadata: Metadata | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    text: TextConfig | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=1024)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    top_logprobs: Int64 | None = None
    truncation: Literal["auto", "disabled"] | None = None
    max_tool_calls: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    user: Annotated[str, Field(max_length=1024)] | None = None
    stream_options: Any = None  # include_obfuscation only: padding, which we do not send
    # not served: parse.py refuses them
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    context_management: Any = None
    moderation: Any = None
    mm_processor_kwargs: Any = None
    previous_input_messages: Any = None
    previous_response: Any = None
    enable_response_messages: Any = None
