"""An answer as a sequence of blocks (reasoning, text, tool calls), as /v1/responses and /v1/messages show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from server.answers.assistant import AssistantDelta, ToolCallDelta


class Kind(Enum):
    REASONING = "reasoning"
    TEXT = "text"
    TOOL = "tool"


@dataclass(slots=True)
class Block:
    """`text` is what it holds so far: prose, or a call's arguments as JSON text. `id` and `name` are the call's."""

    index: int
    kind: Kind
    text: str = ""
    id: str = ""
    name: str = ""


class Change(NamedTuple):
    """What happened to a block: "open", "grow" (by `text`) or "close"."""

    what: str
    block: Block
    text: str = ""


class Blocks:
    """Adds deltas up. One block is open at a time: what another kind brings closes it."""

    def __init__(self) -> None:
        self.all: list[Block] = []
        self._open: Block | None = None
        self._calls: dict[int, Block] = {}

    def add(self, delta: AssistantDelta) -> list[Change]:
        return list(self._changes(delta))

    def end(self) -> list[Change]:
        """Close what is open. An answer of nothing at all is one empty text."""
        changes = [] if self.all else [self._begin(Kind.TEXT)]
        return changes + list(self._close())

    def _changes(self, delta: AssistantDelta) -> Iterator[Change]:
        if delta.reasoning:
            yield from self._grow_prose(Kind.REASONING, delta.reasoning)
        if delta.content:
            yield from self._grow_prose(Kind.TEXT, delta.content)
        for call in delta.tool_calls:
            yield from self._grow_call(call)

    def _grow_prose(self, kind: Kind, text: str) -> Iterator[Change]:
        if self._open is None or self._open.kind is not kind:
            yield from self._close()
            yield self._begin(kind)
        assert self._open is not None
        yield _grown(self._open, text)

    def _grow_call(self, call: ToolCallDelta) -> Iterator[Change]:
        if call.index not in self._calls:
            yield from self._close()
            yield self._begin(Kind.TOOL, call)
        if call.arguments:
            yield _grown(self._calls[call.index], call.arguments)

    def _begin(self, kind: Kind, call: ToolCallDelta | None = None) -> Change:
        block = Block(len(self.all), kind)
        if call is not None:
            block.id, block.name = call.id or "", call.name or ""
            self._calls[call.index] = block
        self.all.append(block)
        self._open = block
        return Change("open", replace(block))  # as it is now: it may have grown before the change is shown

    def _close(self) -> Iterator[Change]:
        if self._open is not None:
            block, self._open = self._open, None
            yield Change("close", block)


def _grown(block: Block, text: str) -> Change:
    block.text += text
    return Change("grow", block, text)
