"""Families whose calls are JSON objects with a name: Hermes and Qwen, Llama 3, Granite, Phi, xLAM; and forced calls."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from server.answers.tools.call_object import read_calls
from server.answers.tools.json_text import copy_arguments
from server.answers.tools.sink import Sink
from server.answers.tools.source import Markers, Source, Steps, markers
from server.answers.tools.toolbox import Toolbox

_FENCE = Markers("```")


@dataclass(frozen=True, slots=True)
class JsonCalls:
    """A grammar: objects (or arrays of them) after one of `openers`, up to one of `closers`.

    `bare`: an answer may also begin with them, if they name a tool of the request; `beginnings` are what such an object
    may begin with in the middle of an answer. They may stand in one of `fences` too, and `after` marks that are
    content.
    """

    openers: tuple[str, ...]
    closers: tuple[str, ...] = ()
    bare: bool = False
    beginnings: tuple[str, ...] = ()
    fences: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def __call__(self, source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
        opening = (*self.openers, *self.beginnings, *self.fences, *self.after)
        outside, within = markers(*opening), markers(*opening, *self.closers)
        stops = markers(*self.openers, *self.closers)
        called = self.bare and (yield from _bare(source, sink, tools.names, stops))
        while found := (yield from source.until(within if called else outside, sink.content)):
            if found in self.closers:
                called = False
                continue
            if found in self.beginnings:
                source.put_back(found)
                called = yield from read_calls(source, sink, stops, tools.names)
                continue
            if found in self.after:
                sink.content(found)
                called = yield from _bare(source, sink, tools.names, stops)
                continue
            if found in self.fences:
                called = yield from _fenced(source, sink, tools.names, found)
                continue
            source.hold(found)
            yield from source.spaces()
            called = yield from read_calls(source, sink, stops)


def _bare(source: Source, sink: Sink, names: Container[str], stops: Markers) -> Steps[bool]:
    source.hold()
    yield from source.spaces()
    if (yield from source.peek()) in ("{", "["):
        return (yield from read_calls(source, sink, stops, names))
    sink.content(source.release())
    return False


def _fenced(source: Source, sink: Sink, names: Container[str], fence: str) -> Steps[bool]:
    source.hold(fence)
    yield from source.spaces()
    called = yield from read_calls(source, sink, _FENCE, names)
    if called:
        yield from source.follows(_FENCE)
    return called


def forced_calls(source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
    """tool_choice "required": the grammar makes the answer an array of {"name", "parameters"}.

    What the end of the answer leaves of a call before its name is dropped: the call was to be all of the answer.
    """
    yield from source.spaces()
    yield from read_calls(source, sink, cut=lambda _: None)
    yield from rest(source, sink)


@dataclass(frozen=True, slots=True)
class NamedCall:
    """A tool_choice that names a function: the grammar makes the answer its arguments."""

    name: str

    def __call__(self, source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
        yield from source.spaces()
        if (yield from source.peek()):
            sink.call(self.name)
            if (yield from copy_arguments(source, sink.arguments)):
                sink.close()
            yield from rest(source, sink)


def plain(source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
    """No calls: everything is content."""
    yield from rest(source, sink)


def rest(source: Source, sink: Sink) -> Steps[None]:
    """All that is left is content."""
    while True:
        if source.at < len(source.text):
            sink.content(source.take(len(source.text) - source.at))
        if source.ended:
            return
        yield
