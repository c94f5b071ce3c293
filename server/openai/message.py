"""AssistantDelta and AssistantMessage as OpenAI's chat shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from server.answers.assistant import AssistantDelta, AssistantMessage

_NOT_SAID = {"refusal": None, "annotations": None, "audio": None, "function_call": None}


@dataclass(frozen=True, slots=True)
class MessageStyle:
    """`reasoning`: show it, under both names that clients read. `legacy`: calls as `function_call`."""

    reasoning: bool = True
    legacy: bool = False

    def message(self, message: AssistantMessage) -> dict[str, Any]:
        """A whole message. Its content is null where there are calls only."""
        body: dict[str, Any] = {"role": "assistant", "content": message.content, **_NOT_SAID}
        if message.tool_calls and not message.content:
            body["content"] = None
        if self.reasoning:
            body["reasoning"] = body["reasoning_content"] = message.reasoning or None
        functions = [{"name": call.name, "arguments": call.arguments} for call in message.tool_calls]
        if functions and self.legacy:
            body["function_call"] = functions[0]
        elif functions:
            body["tool_calls"] = [
                {"id": call.id, "type": "function", "function": function}
                for call, function in zip(message.tool_calls, functions, strict=True)
            ]
        return body

    def delta(self, delta: AssistantDelta) -> dict[str, Any]:
        """What a chunk shows; empty where there is nothing to show."""
        body: dict[str, Any] = {}
        if delta.content:
            body["content"] = delta.content
        if delta.reasoning and self.reasoning:
            body["reasoning"] = body["reasoning_content"] = delta.reasoning
        calls = []
        for call in delta.tool_calls:
            head: dict[str, Any] = {"index": call.index}
            function = {"arguments": call.arguments}
            if call.name is not None:  # once: clients add names up
                head |= {"id": call.id, "type": "function"}
                function["name"] = call.name
            calls.append({**head, "function": function})
        if calls and self.legacy:
            body["function_call"] = calls[0]["function"]
        elif calls:
            body["tool_calls"] = calls
        return body

    def finish_reason(self, reason: str | None, *, called: bool) -> str | None:
        """An answer that ended by itself after a call waits for what the call returns."""
        if reason == "stop" and called:
            return "function_call" if self.legacy else "tool_calls"
        return reason


DEFAULT_STYLE = MessageStyle()
