"""Families that write each argument between tags of its own: Qwen3-Coder and GLM."""

from __future__ import annotations

import re
from collections.abc import Callable

from server.answers.tools.json_text import escape, quote
from server.answers.tools.sink import NAME, WORD, Sink
from server.answers.tools.source import Markers, Source, Steps
from server.answers.tools.toolbox import Toolbox

_KEY = re.compile(r"[^<>\n]+")
_MORE = Markers(">")

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"
_QWEN_OUTSIDE = Markers(_OPEN, _FUNCTION)
_QWEN_AFTER = Markers(_OPEN, _FUNCTION, _CLOSE)
_QWEN_CLOSE = Markers(_CLOSE)
_QWEN_FUNCTION = Markers(_FUNCTION)
_QWEN_WITHIN = Markers(_PARAMETER, _FUNCTION_END, _CLOSE, _OPEN)
_QWEN_VALUE = Markers(_PARAMETER_END, _PARAMETER, _FUNCTION_END)

_ARG_KEY, _ARG_KEY_END = "<arg_key>", "</arg_key>"
_ARG_VALUE, _ARG_VALUE_END = "<arg_value>", "</arg_value>"
_GLM_OUTSIDE = Markers(_OPEN)
_GLM_HEAD = Markers(_ARG_KEY, _CLOSE)
_GLM_WITHIN = Markers(_ARG_KEY, _CLOSE, _OPEN)
_GLM_KEY = Markers(_ARG_KEY_END, _ARG_VALUE, _CLOSE)
_GLM_BEFORE_VALUE = Markers(_ARG_VALUE, _ARG_KEY, _CLOSE)
_GLM_VALUE = Markers(_ARG_VALUE_END, _CLOSE)


def qwen_coder(source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
    """`<tool_call> <function=name> <parameter=key> value </parameter> ... </function> </tool_call>`."""
    markers = _QWEN_OUTSIDE
    while found := (yield from source.until(markers, sink.content)):
        if found == _CLOSE:
            markers = _QWEN_OUTSIDE
            continue
        source.hold(found)
        if found == _OPEN:
            yield from source.spaces()
            if not (yield from source.follows(_QWEN_FUNCTION)):
                sink.content(source.release())
                continue
        name = yield from source.run(WORD)
        if not NAME.fullmatch(name) or not (yield from source.follows(_MORE)):
            sink.content(source.release())
            continue
        source.release()
        yield from _qwen_call(source, sink, tools, name)
        spaces = yield from source.spaces()
        markers = _QWEN_OUTSIDE
        if not (yield from source.follows(_QWEN_CLOSE)):
            sink.content(spaces)
            markers = _QWEN_AFTER


def _qwen_call(source: Source, sink: Sink, tools: Toolbox, name: str) -> Steps[None]:
    sink.call(name)
    arguments = _Arguments(sink, tools, name)
    while found := (yield from source.until(_QWEN_WITHIN, _drop)):
        if found != _PARAMETER:
            if found in (_CLOSE, _OPEN):
                source.put_back(found)
            arguments.close()
            return
        key = yield from source.run(_KEY)
        if (yield from source.follows(_MORE)):
            if not (yield from arguments.copy(source, key.strip(), _QWEN_VALUE, _PARAMETER_END, lines=True)):
                return
        elif not (yield from source.peek()):
            return
    arguments.end()


def glm(source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
    """`<tool_call>name <arg_key>key</arg_key> <arg_value>value</arg_value> ... </tool_call>`."""
    while found := (yield from source.until(_GLM_OUTSIDE, sink.content)):
        source.hold(found)
        yield from source.spaces()
        name = yield from source.run(WORD)
        yield from source.spaces()
        if not NAME.fullmatch(name) or not (yield from source.ahead(_GLM_HEAD)):
            sink.content(source.release())
            continue
        source.release()
        yield from _glm_call(source, sink, tools, name)


def _glm_call(source: Source, sink: Sink, tools: Toolbox, name: str) -> Steps[None]:
    sink.call(name)
    arguments = _Arguments(sink, tools, name)
    while found := (yield from source.until(_GLM_WITHIN, _drop)):
        if found != _ARG_KEY:
            if found == _OPEN:
                source.put_back(found)
            arguments.close()
            return
        key: list[str] = []
        found = yield from source.until(_GLM_KEY, key.append)
        if found == _ARG_KEY_END:
            found = yield from source.until(_GLM_BEFORE_VALUE, _drop)
        if found == _ARG_VALUE:
            if not (yield from arguments.copy(source, "".join(key).strip(), _GLM_VALUE, _ARG_VALUE_END)):
                return
        elif found:
            source.put_back(found)
        else:
            return
    arguments.end()


class _Arguments:
    """Writes arguments that come one by one as one JSON object."""

    def __init__(self, sink: Sink, tools: Toolbox, function: str) -> None:
        self._sink = sink
        self._tools = tools
        self._function = function
        self._begun = False

    def copy(self, source: Source, key: str, stops: Markers, end: str, *, lines: bool = False) -> Steps[bool]:
        """One value, up to a stop, of which `end` alone is read; False if it was cut off.

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
        found = yield from source.until(stops, frame.write if frame else emit)
        if not found:
            return False
        if text:
            self._sink.arguments('"')
        else:
            self._key(key)
            self._sink.arguments(self._tools.json_value(self._function, key, "".join(value)))
        if found != end:
            source.put_back(found)
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


def _drop(text: str) -> None:
    pass
