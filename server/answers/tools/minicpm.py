"""MiniCPM5: `<function name="f"><param name="key">value</param></function>`, where a value may be a CDATA block."""

from __future__ import annotations

import re
from dataclasses import replace

from server.answers.tools.sink import NAME, WORD, Sink
from server.answers.tools.source import Markers, Source, Steps
from server.answers.tools.tagged_arguments import TaggedArguments
from server.answers.tools.tagged_value import ValueTags
from server.answers.tools.toolbox import Toolbox

OPENING = "<function name="
_PARAM, _PARAM_END, _CLOSE = "<param name=", "</param>", "</function>"
_OUTSIDE, _WITHIN, _CDATA = Markers(OPENING), Markers(_PARAM, _CLOSE), Markers("<![CDATA[")
_VALUE = ValueTags(_PARAM_END, more=_PARAM, close=_CLOSE, opening=OPENING, heads=_WITHIN)
_CDATA_VALUE = replace(_VALUE, end="]]>" + _PARAM_END)
_KEY = re.compile(r"[^<>\n\"']+")
_DOUBLE, _SINGLE, _MORE = Markers('"'), Markers("'"), Markers(">")


def minicpm(source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
    """A call begins once its name has been read; what is none is content."""
    while found := (yield from source.until(_OUTSIDE, sink.content)):
        source.hold(found)
        name = yield from _quoted(source, WORD)
        if not NAME.fullmatch(name):
            sink.content(source.release())
            continue
        source.release()
        yield from _call(source, sink, tools, name)


def _call(source: Source, sink: Sink, tools: Toolbox, name: str) -> Steps[None]:
    sink.call(name)
    arguments = TaggedArguments(sink, tools, name)
    while found := (yield from source.until(_WITHIN, _drop)):
        if found == _CLOSE:
            arguments.close()
            return
        key = yield from _quoted(source, _KEY)
        if not key:
            continue
        tags = _CDATA_VALUE if (yield from source.follows(_CDATA)) else _VALUE
        if not (yield from arguments.copy(source, key.strip(), tags)):
            return
    arguments.end()


def _quoted(source: Source, pattern: re.Pattern[str]) -> Steps[str]:
    """An attribute's value with its quotes, and the end of its tag; "" where it is something else or cut off."""
    quote = _DOUBLE if (yield from source.peek()) == '"' else _SINGLE
    if not (yield from source.follows(quote)):
        return ""
    text = yield from source.run(pattern)
    whole = (yield from source.follows(quote)) and (yield from source.follows(_MORE))
    return text if whole else ""


def _drop(text: str) -> None:
    pass
