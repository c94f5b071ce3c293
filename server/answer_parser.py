"""Grammars of a family as an AssistantParser."""

from __future__ import annotations

from server.assistant import AssistantDelta
from server.tools.sink import Sink
from server.tools.source import Source, Steps


class AnswerParser:
    """Runs `steps`, which read `source` and write to `sink`, as far as the text goes."""

    def __init__(self, source: Source, sink: Sink, steps: Steps[None]) -> None:
        self._source = source
        self._sink = sink
        self._steps = steps

    def feed(self, text: str) -> AssistantDelta:
        self._source.feed(text)
        next(self._steps, None)
        return self._sink.take()

    def end(self) -> AssistantDelta:
        self._source.ended = True
        next(self._steps, None)
        return self._sink.end()
