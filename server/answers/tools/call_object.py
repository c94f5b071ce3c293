"""{"name": ..., "arguments": {...}}: the object that many families write a call as."""

from __future__ import annotations

import re
from collections.abc import Container

from server.answers.tools.json_text import NOTHING, Emit, copy_arguments, copy_value, read_key, read_string
from server.answers.tools.sink import NAME, Sink
from server.answers.tools.source import Markers, Source, Steps

_NAMES = frozenset(("name", "function"))
_ARGUMENTS = frozenset(("arguments", "parameters"))
_BETWEEN = re.compile(r"[\s,;\]}]+")


class CallObject:
    """Reads one such object, whose members may come in any order.

    `known`: the names that make it a call, and then only with arguments; None takes every name (a marker has said that
    it is a call). What turns out to be no call is given to the sink as content, from source.hold() on; `cut` gets what
    the end of the answer has cut off before it was one.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        stops: Markers = NOTHING,
        known: Container[str] | None = None,
        cut: Emit | None = None,
    ) -> None:
        self._cut = cut or sink.content
        self._source = source
        self._sink = sink
        self._stops = stops
        self._known = known
        self._name: str | None = None
        self._early: list[str] = []  # arguments that came before the name
        self._committed = False

    def read(self) -> Steps[bool]:
        """Read it, at its brace. True if it was a call."""
        source = self._source
        if source.held is None:
            source.hold()
        source.take(1)
        depth, good = 1, True
        while good and depth:
            yield from source.spaces()
            char = yield from source.peek()
            if char == "}":
                depth -= 1
                source.take(1)
            elif char == ",":
                source.take(1)
            elif char == '"' and (key := (yield from read_key(source))) is not None:
                if key == "function" and (yield from source.peek()) == "{":  # OpenAI's own shape has one within
                    depth += 1
                    source.take(1)
                else:
                    good = yield from self._member(key)
            else:
                good = False
        return (yield from self._end(good))

    def _member(self, key: str) -> Steps[bool]:
        source = self._source
        char = yield from source.peek()
        if key in _NAMES and char == '"' and self._name is None:
            name = yield from read_string(source)
            if name is None or not NAME.fullmatch(name) or (self._known is not None and name not in self._known):
                return False
            self._name = name
            if self._known is None or self._early:
                self._commit(name)
            return True
        if key in _ARGUMENTS:
            if self._name is not None and not self._committed:
                self._commit(self._name)
            emit = self._sink.arguments if self._committed else self._early.append
            return (yield from copy_arguments(source, emit, self._stops))
        return (yield from copy_value(source, lambda _: None, self._stops))

    def _commit(self, name: str) -> None:
        self._committed = True
        self._source.release()
        self._sink.call(name)
        for text in self._early:
            self._sink.arguments(text)

    def _end(self, good: bool) -> Steps[bool]:
        if not self._committed:
            give = self._sink.content if good or (yield from self._source.peek()) else self._cut
            give(self._source.release())
            return False
        if good or (yield from self._source.peek()):  # else the answer was cut off within it
            self._sink.close()
        return True


def read_calls(
    source: Source,
    sink: Sink,
    stops: Markers = NOTHING,
    known: Container[str] | None = None,
    cut: Emit | None = None,
) -> Steps[bool]:
    """Read one object or an array of them, or several with `;` between. True if the first was a call.

    What has been read since source.hold() goes with the first object to the content if it is none, or to `cut` where
    the answer ends before that can be known.
    """
    if source.held is None:
        source.hold()
    array = (yield from source.peek()) == "["
    if array:
        source.take(1)
        yield from source.spaces()
    called = False
    while (yield from source.peek()) == "{" and (yield from CallObject(source, sink, stops, known, cut).read()):
        called = True
        source.hold()
        stray = yield from source.run(_BETWEEN)
        char = yield from source.peek()
        if char != "{":  # one bracket too many before the end mark is what models often write
            source.hold(stray.partition("]")[2] if array else stray)
            if not char or (char in stops.first and (yield from source.ahead(stops))):
                source.release()
    give = sink.content if cut is None or (yield from source.peek()) else cut
    give(source.release())
    return called
