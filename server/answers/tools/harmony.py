"""gpt-oss: an answer is messages on channels. Reasoning and calls come from the same grammar."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from server.answers.tools.json_text import copy_arguments
from server.answers.tools.sink import NAME, Sink
from server.answers.tools.source import Markers, Source, Steps
from server.answers.tools.toolbox import Toolbox

_START, _CHANNEL, _MESSAGE, _CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
_HEADER = Markers(_START, _CHANNEL)
_ENDS = Markers("<|end|>", "<|call|>", "<|return|>", _START)
_HEADER_ENDS = Markers(_MESSAGE, "<|end|>", "<|call|>", "<|return|>")
_RECIPIENT = re.compile(r"\bto=functions\.([^\s<]+)")
_CHANNEL_NAME = re.compile(re.escape(_CHANNEL) + r"\s*(\w+)")
MARKERS = (_START, _CHANNEL, _MESSAGE, _CONSTRAIN, "<|end|>", "<|call|>", "<|return|>")


@dataclass(frozen=True, slots=True)
class Harmony:
    """A grammar: `<|channel|>NAME to=functions.F <|constrain|>json<|message|>BODY<|end|>`, message after message.

    The channel "analysis" is reasoning, where that is split out; what is addressed to a function is a call; everything
    else is content. A header that never comes to its message is dropped.
    """

    reasoning: bool = True
    calls: bool = True

    def __call__(self, source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
        while begin := (yield from source.until(_HEADER, sink.content)):
            header = [begin]
            if (yield from source.until(_HEADER_ENDS, header.append)) != _MESSAGE:
                continue
            text = "".join(header)
            recipient, channel = _RECIPIENT.search(text), _CHANNEL_NAME.search(text)
            if self.calls and recipient and NAME.fullmatch(recipient[1]):
                yield from self._call(source, sink, recipient[1])
            elif self.reasoning and channel and channel[1] == "analysis":
                sink.begin_reasoning(source.position)
                sink.end_reasoning((yield from self._prose(source, sink.reasoning)))
            else:
                yield from self._prose(source, sink.content)

    def _prose(self, source: Source, emit: Callable[[str], None]) -> Steps[int]:
        """Read to the end of a message; returns where its text ends."""
        found = yield from source.until(_ENDS, emit)
        end = source.position - len(found)
        if found == _START:
            source.put_back(found)
        return end

    def _call(self, source: Source, sink: Sink, name: str) -> Steps[None]:
        sink.call(name)
        yield from source.spaces()
        if not (yield from source.ahead(_ENDS)):
            yield from copy_arguments(source, sink.arguments, _ENDS, in_strings=True)
        if (yield from source.peek()):
            sink.close()
        yield from self._prose(source, lambda _: None)
