"""FunctionGemma: `<start_function_call>call:name{key:<escape>text<escape>,other:3}<end_function_call>`."""

from __future__ import annotations

import re
from collections.abc import Callable

from server.answers.tools.json_text import Brackets, escape, quote
from server.answers.tools.pythonic import scalar
from server.answers.tools.sink import NAME, WORD, Sink
from server.answers.tools.source import Markers, Source, Steps
from server.answers.tools.toolbox import Toolbox

OPENING, CLOSING, ESCAPE = "<start_function_call>", "<end_function_call>", "<escape>"
_OPENING, _ENDS, _ESCAPE = Markers(OPENING), Markers(CLOSING, OPENING), Markers(ESCAPE)
_HEAD, _BRACE, _COLON = Markers("call:"), Markers("{"), Markers(":")
_KEY = re.compile(r"[^<>{}\[\],:\n]+")
_BARE = re.compile(r"[^<{}\[\],:]+")
_BETWEEN = re.compile(r"[\s,]+")


def functiongemma(source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
    """A call begins at the brace after its name; what is none is content."""
    while found := (yield from source.until(_OPENING, sink.content)):
        source.hold(found)
        yield from source.spaces()
        named = yield from source.follows(_HEAD)
        name = (yield from source.run(WORD)) if named else ""
        if not NAME.fullmatch(name) or not (yield from source.follows(_BRACE)):
            sink.content(source.release())
            continue
        source.release()
        sink.call(name)
        yield from _arguments(source, sink, tools, name)
        if (yield from source.until(_ENDS, _drop)) == OPENING:
            source.put_back(OPENING)


def _arguments(source: Source, sink: Sink, tools: Toolbox, function: str) -> Steps[None]:
    separator = "{"
    while True:
        yield from source.run(_BETWEEN)
        key = (yield from source.run(_KEY)).strip()
        if not key or not (yield from source.follows(_COLON)):
            break
        yield from source.spaces()
        sink.arguments(separator + quote(key) + ":")
        separator = ","
        if not (yield from _argument(source, sink, tools, function, key)):
            return  # cut off
    if separator == "," and (not key or (yield from source.peek())):
        sink.arguments("}")
    if (yield from source.peek()):
        sink.close()


def _argument(source: Source, sink: Sink, tools: Toolbox, function: str, key: str) -> Steps[bool]:
    """One value; False if it was cut off. A text for something else than a text is what it stands for."""
    if not (yield from source.ahead(_ESCAPE)) or tools.is_text(function, key):
        return (yield from _copy_value(source, sink.arguments))
    parts: list[str] = []
    whole = yield from _read_text(source, parts.append)
    if whole:
        sink.arguments(tools.json_value(function, key, "".join(parts)))
    return whole


def _copy_value(source: Source, emit: Callable[[str], None]) -> Steps[bool]:
    """Copy a value as JSON, up to the comma or brace after it."""
    brackets = Brackets()
    while char := (yield from source.peek()):
        if char in ",}]" and not brackets:
            return True
        if char in "{[,:]}":
            if char in "{[":
                brackets.open(char)
            elif char in "}]":
                brackets.close("{" if char == "}" else "[")
            emit(source.take(1))
        elif (yield from source.ahead(_ESCAPE)):
            emit('"')
            if not (yield from _read_text(source, lambda text: emit(escape(text)))):
                return False
            emit('"')
        elif (yield from source.ahead(_ENDS)):
            return False
        else:
            bare = source.take(1) + (yield from source.run(_BARE))
            is_key = bool(brackets) and (yield from source.peek()) == ":"
            if bare.strip():
                emit(quote(bare.strip()) if is_key else scalar(bare.strip()))
    return False


def _read_text(source: Source, emit: Callable[[str], None]) -> Steps[bool]:
    """A text between marks, of which the last has a comma or a bracket after it; False if it was cut off."""
    source.take(len(ESCAPE))
    while (yield from source.until(_ESCAPE, emit)):
        outer = source.look_ahead()
        yield from source.spaces()
        following = yield from source.peek()
        source.rewind(outer)
        if not following or following in ",}]":
            return True
        emit(ESCAPE)
    return False


def _drop(text: str) -> None:
    pass
