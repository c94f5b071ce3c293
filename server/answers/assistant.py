"""What a model says, split into reasoning, content and tool calls: between parsers of families and dialects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of tool call number `index`. `id` and `name` come once, with its first delta; `arguments` is JSON text."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class AssistantDelta:
    """What some more text of an answer has brought."""

    reasoning: str = ""
    content: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.reasoning or self.content or self.tool_calls)

    def __add__(self, other: AssistantDelta) -> AssistantDelta:
        return AssistantDelta(
            self.reasoning + other.reasoning, self.content + other.content, (*self.tool_calls, *other.tool_calls)
        )


class AssistantParser(Protocol):
    """Parses one answer. However its text is cut into pieces, the deltas add up to the same message."""

    def feed(self, text: str) -> AssistantDelta: ...

    def end(self) -> AssistantDelta:
        """What was held back, now that no more text comes."""
        ...

    @property
    def thoughts(self) -> Sequence[tuple[int, int | None]]:
        """Where reasoning stands in the text, [begin, end); the last one may be without an end yet."""
        ...


@dataclass(slots=True)
class ToolCall:
    """A whole call; `arguments` is JSON text, cut off where the answer was."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class AssistantMessage:
    """A whole answer, added up from deltas."""

    reasoning: str = ""
    content: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)

    def add(self, delta: AssistantDelta) -> None:
        self.reasoning += delta.reasoning
        self.content += delta.content
        for part in delta.tool_calls:
            if part.index == len(self.tool_calls):
                self.tool_calls.append(ToolCall(part.id or "", part.name or ""))
            self.tool_calls[part.index].arguments += part.arguments


class PlainText:
    """The parser of a model that neither reasons nor calls tools: everything is content."""

    def feed(self, text: str) -> AssistantDelta:
        return AssistantDelta(content=text)

    def end(self) -> AssistantDelta:
        return AssistantDelta()

    @property
    def thoughts(self) -> Sequence[tuple[int, int | None]]:
        return ()


def parse_whole(parser: AssistantParser, text: str) -> AssistantMessage:
    """A whole answer at once."""
    message = AssistantMessage()
    message.add(parser.feed(text))
    message.add(parser.end())
    return message
