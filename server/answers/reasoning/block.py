"""The grammar of a block of reasoning at the beginning of an answer."""

from __future__ import annotations

from dataclasses import dataclass

from server.answers.tools.sink import Sink
from server.answers.tools.source import Source, Steps, markers


@dataclass(frozen=True, slots=True)
class Tags:
    """What a block begins and ends with, in all its spellings. `implied`: answers begin within it, tag or no tag.

    `response`: what the rest of the answer may be put between, which is no part of it.
    """

    begin: tuple[str, ...]
    end: tuple[str, ...]
    implied: bool = False
    response: tuple[str, str] | None = None

    def is_open(self, prompt: str, begun: str = "") -> bool:
        """Whether the answer to `prompt`, the first part of which may be given as `begun`, goes on within a block."""
        if begun:
            return max(map(begun.rfind, self.begin)) > max(map(begun.rfind, self.end))
        prompt = prompt.rstrip()
        return prompt.endswith(self.begin) or (self.implied and not prompt.endswith(self.end))

    def may_begin(self, prompt: str, begun: str = "") -> bool:
        """Whether the answer may begin with a block of its own: the prompt has not closed one for it."""
        return not begun and not prompt.rstrip().endswith(self.end)


THINK = Tags(("<think>",), ("</think>",))
THINK_IMPLIED = Tags(("<think>",), ("</think>",), implied=True)
MISTRAL_THINK = Tags(("[THINK]",), ("[/THINK]",))
SEED_THINK = Tags(("<seed:think>",), ("</seed:think>",), implied=True)
GRANITE_THOUGHT = Tags(  # of 3.2, and of 3.3
    ("Here is my thought process:", "Here's my thought process:", "<think>"),
    ("Here is my response:", "Here's my response:", "</think>"),
    response=("<response>", "</response>"),
)


@dataclass(frozen=True, slots=True)
class ReasoningBlock:
    """Reads the block, where the answer has one. `opened`: the prompt has begun it.

    `interrupts` begin a call, and with it end a block that was not closed. `forced`: nothing but a call may follow, so
    the beginning of a mark that the end of the answer has cut off is no text.
    """

    tags: Tags
    opened: bool
    interrupts: tuple[str, ...] = ()
    forced: bool = False

    def __call__(self, source: Source, sink: Sink) -> Steps[None]:
        begin = markers(*self.tags.begin)
        source.hold()
        yield from source.spaces()
        begun = yield from source.follows(begin)
        if not begun and not self.opened:
            if self.forced and begin.partial(source.text, source.at) == source.at:
                source.take(len(source.text) - source.at)
                source.release()
            if not (yield from self._enter_response(source, sink)):
                sink.content(source.release())
            return
        source.release()
        sink.begin_reasoning(source.position if begun else 0)
        found = yield from source.until(markers(*self.tags.end, *self.interrupts), sink.reasoning)
        sink.end_reasoning(source.position - len(found))
        if found in self.interrupts:
            source.put_back(found)
        elif self.tags.response:
            source.hold()
            yield from source.spaces()
            if not (yield from self._enter_response(source, sink)):
                sink.content(source.release())

    def _enter_response(self, source: Source, sink: Sink) -> Steps[bool]:
        """Read the mark with which the rest of the answer begins, where it does, and forget what was held."""
        if self.tags.response is None or not (yield from source.follows(markers(self.tags.response[0]))):
            return False
        source.release()
        sink.begin_response(self.tags.response[1])
        return True
