"""JSON as models write it: copied, never built. What is not quite JSON is copied as well, so nobody has to guess."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable

from server.answers.tools.source import Markers, Source, Steps

Emit = Callable[[str], None]
NOTHING = Markers("\0")  # no stops: NUL is in no text
_COLON = Markers(":")
_QUOTE = Markers('"', "\\")
_TOKEN = re.compile(r"[^\s,{}\[\]\"<]+")


def copy_value(source: Source, emit: Emit, stops: Markers = NOTHING, *, in_strings: bool = False) -> Steps[bool]:
    """Copy one value: an object, an array, a string or a token. False where the text or a stop has cut it off.

    A stop is a marker that ends the value wherever it is met, and stays unread. Within a string it is text, or with
    `in_strings` ends a value whose string is not closed.
    """
    brackets = Brackets()
    while True:
        char = yield from source.peek()
        if not char or (char in stops.first and (yield from source.ahead(stops))):
            return False
        if char == '"':
            if not (yield from copy_string(source, emit, stops if in_strings else NOTHING)):
                return False
        elif char in "{[":
            brackets.open(char)
            emit(source.take(1))
        elif char in "}]":
            if not brackets:
                return False
            emit(source.take(1))
            brackets.close("{" if char == "}" else "[")
        else:
            emit((yield from source.run(_TOKEN)) or source.take(1))
        if not brackets:
            return True


def copy_string(source: Source, emit: Emit, stops: Markers = NOTHING) -> Steps[bool]:
    """Copy a string with its quotes. Raw control characters, which JSON does not have, are escaped.

    False where it is cut off, or at a stop after which the answer goes on as after a call, with no end of the string.
    """
    emit(source.take(1))
    plain = _plain(stops)
    while True:
        found = plain.match(source.text, source.at)
        if found:
            emit(source.take(found.end() - source.at))
        char = yield from source.peek()
        if not char:
            return False
        if char == '"':
            emit(source.take(1))
            return True
        if char in stops.first and (mark := (yield from source.ahead(stops))):
            if (yield from _is_last(source, mark, stops)) and not (yield from _closes(source)):
                return False
            emit(source.take(len(mark)))
            continue
        if char == "\\":
            pair = yield from source.peek(2)
            source.take(len(pair))
            if len(pair) < 2:
                return False  # cut off within an escape
            emit(pair if pair[1] >= " " else "\\" + _escaped(pair[1]))
        elif char < " ":
            emit(_escaped(source.take(1)))
        elif char in stops.first:
            emit(source.take(1))


def _is_last(source: Source, mark: str, stops: Markers) -> Steps[bool]:
    """Whether another mark follows the one that comes next, or nothing: then it may not be text."""
    outer = source.look_ahead()
    source.take(len(mark))
    yield from source.spaces()
    last = not (yield from source.peek()) or bool((yield from source.ahead(stops)))
    source.rewind(outer)
    return last


def _closes(source: Source) -> Steps[bool]:
    """Whether the string that is being read has an end: a quote with what may follow a string in JSON after it."""
    if source.position < source.barren or source.position < source.closes:
        return source.position >= source.barren
    outer = source.look_ahead()
    while found := (yield from source.until(_QUOTE, lambda _: None)):
        if found == '"':
            yield from source.spaces()
            char = yield from source.peek()
            break
        yield from source.peek()
        source.take(1)
    closes, at = bool(found) and (not char or char in ",:]}"), source.position
    source.rewind(outer)
    if closes:
        source.closes = at
    else:
        source.barren = at if found else math.inf
    return closes


def read_string(source: Source) -> Steps[str | None]:
    """The value of a string; None where it is cut off or not JSON."""
    parts: list[str] = []
    if not (yield from copy_string(source, parts.append)):
        return None
    try:
        return clean(json.loads("".join(parts)))
    except ValueError:
        return None


def read_key(source: Source) -> Steps[str | None]:
    """A member's key, with its colon and the white space around."""
    key = yield from read_string(source)
    yield from source.spaces()
    if key is None or not (yield from source.follows(_COLON)):
        return None
    yield from source.spaces()
    return key


def copy_arguments(source: Source, emit: Emit, stops: Markers = NOTHING, *, in_strings: bool = False) -> Steps[bool]:
    """Copy the value of a call's arguments as a JSON text: an object as it is, a string that holds JSON unpacked."""
    char = yield from source.peek()
    if char in "{[":
        return (yield from copy_value(source, emit, stops, in_strings=in_strings))
    if char == '"':
        text = yield from read_string(source)
        emit((text or "").strip() or "{}")
        return text is not None
    token: list[str] = []
    complete = yield from copy_value(source, token.append, stops)
    text = "".join(token)
    emit("{}" if text == "null" else text)
    return complete


def clean(text: str) -> str:
    """Text that UTF-8 can carry: lone surrogates, which escapes can spell, become question marks."""
    return text.encode("utf-8", "replace").decode()


def quote(text: str) -> str:
    """A JSON string."""
    return json.dumps(text, ensure_ascii=False)


def escape(text: str) -> str:
    """Text as it stands within a JSON string."""
    return quote(text)[1:-1]


def _escaped(control: str) -> str:
    return json.dumps(control)[1:-1]


class Brackets:
    """The brackets that are open. One that closes an outer one closes what is open within; a stray one closes none."""

    def __init__(self) -> None:
        self._stack: list[str] = []
        self._count: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._stack)

    def open(self, opening: str) -> None:
        self._stack.append(opening)
        self._count[opening] += 1

    def close(self, opening: str) -> None:
        while self._count[opening]:
            innermost = self._stack.pop()
            self._count[innermost] -= 1
            if innermost == opening:
                return


_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')


def _plain(stops: Markers) -> re.Pattern[str]:
    """What a string may hold without a closer look."""
    if stops is NOTHING:
        return _PLAIN
    return re.compile(rf'[^"\\\x00-\x1f{re.escape("".join(sorted(stops.first)))}]+')
