"""The wire types of /v1/messages and /v1/messages/count_tokens.

The sampling parameters of /v1/chat/completions that Anthropic does not have (seed, min_p, ...) mean here what they mean
there. Hints (metadata, cache_control, service_tier, context_management) are ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from server.openai.schema import Body, Int64, Sampling


class TextBlock(Body):
    type: Literal["text"]
    text: str


class ContentBlock(Body):
    """Text, thinking, a tool's use or its result. content.py knows which need what and refuses the others by type."""

    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    tool_use_id: str | None = None
    content: str | list[dict[str, Any]] | dict[str, Any] | None = None
    source: str | dict[str, Any] | None = None
    title: str | None = None
    is_error: bool | None = None


class MessageParam(Body):
    role: Literal["user", "assistant", "system"]
    content: str | list[ContentBlock]


class ToolParam(Body):
    """Only tools of the client's own (type "custom" or none) are served; Anthropic's are as if they were not listed."""

    type: str | None = None
    name: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(Body):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Body):
    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class JsonFormat(Body):
    model_config = Body.model_config | {"protected_namespaces": ()}

    type: Literal["json_schema"]
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Body):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class Conversation(Body):
    """What is said, and how it may be answered."""

    model: str | None = None
    messages: Annotated[list[MessageParam], Field(min_length=1, max_length=16384)]
    system: str | list[TextBlock] | None = None
    tools: Annotated[list[ToolParam], Field(max_length=1024)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    # not served: parse.py refuses them
    container: Any = None
    mcp_servers: Any = None
    output_format: Any = None


class CountTokensRequest(Conversation):
    """POST /v1/messages/count_tokens."""


class MessagesRequest(Conversation, Sampling):
    """POST /v1/messages."""

    max_tokens: Int64
    stop_sequences: list[str] | None = None
