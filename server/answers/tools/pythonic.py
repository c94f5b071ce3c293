"""Calls written as Python: `[get_weather(city="Paris"), now()]`. Translated to JSON by hand; nothing is evaluated."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Container
from dataclasses import dataclass

from server.answers.tools.json_text import Brackets, escape, quote
from server.answers.tools.sink import NAME, WORD, Sink
from server.answers.tools.source import Markers, Source, Steps, markers
from server.answers.tools.toolbox import Toolbox

_IDENTIFIER = re.compile(r"\w+")
_TOKEN = re.compile(r"[^\s,:()\[\]{}'\"]+")
_PAREN, _EQUALS, _COMMA = Markers("("), Markers("="), Markers(",")
_QUOTES = {"'": "'''", '"': '"""'}
_WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_ESCAPES = {"n": "\\n", "t": "\\t", "r": "\\r", "b": "\\b", "f": "\\f", "\\": "\\\\", "'": "'", '"': '\\"', "\n": ""}
_CLOSING = {"]": ("[", "]"), ")": ("[", "]"), "}": ("{", "}")}
_HEX = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True, slots=True)
class Pythonic:
    """A grammar: a list of calls that begins the answer, or stands between `opener` and `closer`."""

    opener: str = "<|python_start|>"
    closer: str = "<|python_end|>"

    def __call__(self, source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
        source.hold()
        yield from source.spaces()
        yield from _calls(source, sink, tools.names)
        marks = markers(self.opener, self.closer)
        while found := (yield from source.until(marks, sink.content)):
            if found == self.opener:
                source.hold(found)
                yield from source.spaces()
                yield from _calls(source, sink, None)


def _calls(source: Source, sink: Sink, known: Container[str] | None) -> Steps[None]:
    """A list of calls; what is none goes to the content, from source.hold() on."""
    if (yield from source.peek()) == "[":
        source.take(1)
        yield from source.spaces()
        while (yield from _call(source, sink, known)):
            source.hold()
            yield from source.spaces()
            yield from source.follows(_COMMA)
            yield from source.spaces()
            if (yield from source.peek()) == "]":
                source.take(1)
                source.release()
                return
    sink.content(source.release())


def _call(source: Source, sink: Sink, known: Container[str] | None) -> Steps[bool]:
    """`name(key=value, ...)`. It is a call once its first key and `=`, or `)`, has been read."""
    name = yield from source.run(WORD)
    if not NAME.fullmatch(name) or not (yield from source.follows(_PAREN)):
        return False
    if known is not None and name not in known:
        return False
    separator = "{"
    while True:
        yield from source.spaces()
        key = yield from source.run(_IDENTIFIER)
        yield from source.spaces()
        proper = bool(key) and bool((yield from source.follows(_EQUALS)))
        char = yield from source.peek()
        if separator == "{":
            if not proper and (key or char != ")"):
                return False
            source.release()
            sink.call(name)
        if proper:
            sink.arguments(separator + quote(key) + ":")
            separator = ","
            yield from source.spaces()
            yield from copy_literal(source, sink.arguments)
            yield from source.follows(_COMMA)
        elif char == ")":
            source.take(1)
            sink.arguments("{}" if separator == "{" else "}")
            sink.close()
            return True
        else:
            return True  # malformed, or cut off: the rest is content


def copy_literal(source: Source, emit: Callable[[str], None]) -> Steps[None]:
    """Copy one Python literal as JSON, up to the comma or bracket after it. Tuples become arrays."""
    brackets = Brackets()
    comma = ""
    while char := (yield from source.peek()):
        if char in ",)]}" and not brackets:
            return
        if char == ",":
            comma = source.take(1)  # written with the next element: Python allows one after the last
            continue
        if char in _CLOSING:
            source.take(1)
            opening, closing = _CLOSING[char]
            brackets.close(opening)
            emit(closing)
            comma = ""
            continue
        if not char.isspace() and char != ":":
            emit(comma)
            comma = ""
        if char in "'\"":
            yield from _copy_string(source, char, emit)
        elif char in "([{":
            source.take(1)
            opening = "{" if char == "{" else "["
            brackets.open(opening)
            emit(opening)
        elif char == ":":
            emit(source.take(1))
        else:
            token = yield from source.run(_TOKEN)
            emit(scalar(token)) if token else source.take(1)


def _copy_string(source: Source, quote_mark: str, emit: Callable[[str], None]) -> Steps[None]:
    end = yield from source.follows(markers(_QUOTES[quote_mark]))
    end = end or source.take(1)
    emit('"')
    stops = markers(end, "\\")
    while found := (yield from source.until(stops, lambda text: emit(escape(text)))):
        if found == end:
            emit('"')
            return
        yield from _copy_escape(source, emit)


def _copy_escape(source: Source, emit: Callable[[str], None]) -> Steps[None]:
    kind = yield from source.peek()
    width = _HEX.get(kind, 0)
    digits = (yield from source.peek(1 + width))[1:]
    if width and len(digits) == width and all(digit in "0123456789abcdefABCDEF" for digit in digits):
        source.take(1 + width)
        code = int(digits, 16)
        emit(escape(chr(code)) if code < 0x110000 and not 0xD800 <= code < 0xE000 else f"\\\\{kind}{digits}")
    elif kind in _ESCAPES and kind:
        source.take(1)
        emit(_ESCAPES[kind])
    elif kind:
        emit("\\\\")


def scalar(token: str) -> str:
    """A number or a constant; anything else becomes a string."""
    if token in _WORDS:
        return _WORDS[token]
    try:
        number = json.loads(token)
    except ValueError:
        number = _number(token)
    finite = isinstance(number, int | float) and math.isfinite(number)
    return json.dumps(number) if finite else quote(token)


def _number(token: str) -> float:
    try:
        return float(token)
    except ValueError:
        return math.nan
