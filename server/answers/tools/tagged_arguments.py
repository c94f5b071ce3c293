"""Arguments that come one by one, written as one JSON object."""

from __future__ import annotations

from collections.abc import Callable

from server.answers.tools.json_text import escape, quote
from server.answers.tools.sink import Sink
from server.answers.tools.source import Source, Steps, markers
from server.answers.tools.tagged_value import ValueTags, copy_tagged
from server.answers.tools.toolbox import Toolbox


class TaggedArguments:
    """The arguments of one call of `function`."""

    def __init__(self, sink: Sink, tools: Toolbox, function: str) -> None:
        self._sink = sink
        self._tools = tools
        self._function = function
        self._begun = False

    def copy(self, source: Source, key: str, tags: ValueTags, *, lines: bool = False) -> Steps[bool]:
        """One value with the mark that closes it; False if it was cut off.

        `lines`: the value stands on lines of its own.

        Text is passed on as it comes; what may be a number or an object has to be complete first.
        """
        text = self._tools.is_text(self._function, key)
        value: list[str] = []
        if text:
            self._key(key)
            self._sink.arguments('"')
        emit = self._escaped if text else value.append
        frame = _Lines(emit) if lines else None
        if not (yield from copy_tagged(source, frame.write if frame else emit, tags)):
            return False
        if text:
            self._sink.arguments('"')
        else:
            self._key(key)
            self._sink.arguments(self._tools.json_value(self._function, key, "".join(value)))
        yield from source.follows(markers(tags.end))
        return True

    def end(self) -> None:
        """The answer has ended after a whole value: models leave end marks out."""
        if self._begun:
            self.close()

    def close(self) -> None:
        if self._begun:
            self._sink.arguments("}")
        self._sink.close()

    def _key(self, key: str) -> None:
        self._sink.arguments(("," if self._begun else "{") + quote(key) + ":")
        self._begun = True

    def _escaped(self, text: str) -> None:
        self._sink.arguments(escape(text))


class _Lines:
    """Drops one line break at the beginning of a value and one at its end."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._held = ""
        self._begun = False

    def write(self, text: str) -> None:
        if not self._begun and text.startswith("\n"):
            text = text[1:]
        self._begun = True
        text = self._held + text
        self._held = "\n" if text.endswith("\n") else ""
        self._emit(text[:-1] if self._held else text)
