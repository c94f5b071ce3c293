"""Where grammars write what they read: collects reasoning, content and tool calls into AssistantDeltas."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from server.answers.assistant import AssistantDelta, ToolCallDelta
from server.answers.tools.source import Markers, markers

NewId = Callable[[str, int], str]  # a call's name and index -> its id
WORD = re.compile(r"[A-Za-z0-9_.:/-]+")
NAME = re.compile(WORD.pattern[:-1] + "{1,128}")  # what a function may be called


@dataclass(slots=True)
class _Call:
    id: str | None = None
    name: str | None = None
    arguments: list[str] = field(default_factory=list)


class Sink:
    """White space around reasoning and calls belongs to their markers and is dropped, in between it is kept.

    `hidden` are special tokens to take out of reasoning and content; `one_call` drops every call but the first.
    """

    def __init__(self, new_id: NewId, *, hidden: Markers | None = None, one_call: bool = False) -> None:
        self.num_calls = 0
        self.thoughts: list[tuple[int, int | None]] = []  # where in the answer reasoning stands
        self._new_id = new_id
        self._one_call = one_call
        self._content = _Prose(hidden, keep_start=True)
        self._reasoning = _Prose(hidden)
        self._calls: dict[int, _Call] = {}
        self._open = False  # the last call may get arguments
        self._has_arguments = False

    def content(self, text: str) -> None:
        self._content.write(text)

    def reasoning(self, text: str) -> None:
        self._reasoning.write(text)

    def begin_reasoning(self, position: int) -> None:
        """A block of reasoning begins at this character of the answer."""
        self.thoughts.append((position, None))

    def end_reasoning(self, position: int) -> None:
        """It has ended before this one. One that follows begins on a new line."""
        self.thoughts[-1] = (self.thoughts[-1][0], position)
        self._reasoning.end_block("\n")
        self._content.keep_start = False

    def begin_response(self, mark: str) -> None:
        """The rest is put between marks; this one, where nothing but a call follows it, is no content."""
        self._content.end_mark, self._content.keep_start = mark, False

    def call(self, name: str, call_id: str | None = None) -> None:
        """A call begins."""
        self.num_calls += 1
        self._content.settle()
        self._content.keep_start = False
        self._open, self._has_arguments = not (self._one_call and self.num_calls > 1), False
        if self._open:
            index = self.num_calls - 1
            self._calls[index] = _Call(call_id or self._new_id(name, index), name)

    def arguments(self, text: str) -> None:
        """More JSON text of the call's arguments."""
        if self._open and text:
            self._has_arguments = True
            self._calls.setdefault(self.num_calls - 1, _Call()).arguments.append(text)

    def close(self) -> None:
        """The call is complete. Without arguments it has an empty object of them."""
        if not self._has_arguments:
            self.arguments("{}")
        self._open = False

    def take(self) -> AssistantDelta:
        """What was written since the last take()."""
        calls = tuple(
            ToolCallDelta(index, call.id, call.name, "".join(call.arguments)) for index, call in self._calls.items()
        )
        self._calls = {}
        return AssistantDelta(self._reasoning.take(), self._content.take(), calls)

    def end(self) -> AssistantDelta:
        """What was held back."""
        self._content.flush(trailing=not self.num_calls)
        self._reasoning.flush(trailing=False)
        return self.take()


class _Prose:
    """Text without its hidden tokens. White space, and an `end_mark`, are held until it is known what follows."""

    def __init__(self, hidden: Markers | None, *, keep_start: bool = False) -> None:
        self.keep_start = keep_start
        self.end_mark = ""
        self._hidden = hidden
        self._partial = ""  # may be the beginning of a hidden token
        self._space: list[str] = []
        self._out: list[str] = []
        self._begun = False

    def write(self, text: str) -> None:
        text = self._partial + text
        cut = len(text)
        if self._hidden is not None:
            text = self._hidden.pattern.sub("", text)
            cut = self._hidden.partial(text, 0)
        if self.end_mark:
            cut = min(cut, markers(self.end_mark).partial(text, 0))
        text, self._partial = text[:cut], text[cut:]
        self._write(text)

    def _write(self, text: str) -> None:
        end = self._last(text)
        visible = text[:end]
        if visible:
            if self._begun or self.keep_start:
                self._out += self._space
            else:
                visible = visible.lstrip()
            self._out.append(visible)
            self._space, self._begun = [], True
        if text[end:]:
            self._space.append(text[end:])

    def _last(self, text: str) -> int:
        """Where the white space at the end begins, marks among it."""
        end = len(text)
        while end:
            if text[end - 1].isspace():
                end -= 1
            elif self.end_mark and text.endswith(self.end_mark, 0, end):
                end -= len(self.end_mark)
            else:
                break
        return end

    def end_block(self, separator: str) -> None:
        self.flush(trailing=False)
        self._space = [separator] if self._begun else []

    def settle(self) -> None:
        """No more text comes for now: what may have begun a hidden token does not, and a mark at the end is one."""
        partial, self._partial = self._partial, ""
        self._write(partial)
        if self.end_mark and any(self.end_mark in part for part in self._space):
            self._space, self.end_mark = [], ""

    def flush(self, *, trailing: bool) -> None:
        self.settle()
        if trailing and (self._begun or self.keep_start):
            self._out += self._space
        self._space = []

    def take(self) -> str:
        text = "".join(self._out)
        self._out.clear()
        return text
