"""Families that write each argument between tags of its own: Qwen3-Coder and GLM."""

from __future__ import annotations

import re

from server.answers.tools.json_text import copy_arguments
from server.answers.tools.sink import NAME, WORD, Sink
from server.answers.tools.source import Markers, Source, Steps
from server.answers.tools.tagged_arguments import TaggedArguments
from server.answers.tools.tagged_value import ValueTags
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
_QWEN_HEADS = Markers(_PARAMETER, _FUNCTION_END)
_QWEN_VALUE = ValueTags(
    _PARAMETER_END,
    more=_PARAMETER,
    close=_FUNCTION_END,
    opening=_FUNCTION,
    heads=_QWEN_HEADS,
    implied="\n" + _PARAMETER,
)
_QWEN_JSON_ENDS = Markers(_FUNCTION_END, _CLOSE, _OPEN)

_ARG_KEY, _ARG_KEY_END = "<arg_key>", "</arg_key>"
_ARG_VALUE, _ARG_VALUE_END = "<arg_value>", "</arg_value>"
GLM_MARKS = (_OPEN, _CLOSE, _ARG_KEY, _ARG_KEY_END, _ARG_VALUE, _ARG_VALUE_END)
_GLM_OUTSIDE = Markers(_OPEN)
_GLM_HEAD = Markers(_ARG_KEY, _CLOSE)
_GLM_WITHIN = Markers(_ARG_KEY, _CLOSE, _OPEN)
_GLM_KEY = Markers(_ARG_KEY_END, _ARG_VALUE, _CLOSE)
_GLM_BEFORE_VALUE = Markers(_ARG_VALUE, _ARG_KEY, _CLOSE)
_GLM_VALUE = ValueTags(_ARG_VALUE_END, more=_ARG_KEY, close=_CLOSE, opening=_OPEN, heads=_GLM_HEAD)


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
    yield from source.spaces()
    if (yield from source.peek()) == "{":
        yield from _json_arguments(source, sink)
        return
    arguments = TaggedArguments(sink, tools, name)
    while found := (yield from source.until(_QWEN_WITHIN, _drop)):
        if found != _PARAMETER:
            if found in (_CLOSE, _OPEN):
                source.put_back(found)
            arguments.close()
            return
        key = yield from source.run(_KEY)
        if (yield from source.follows(_MORE)):
            if not (yield from arguments.copy(source, key.strip(), _QWEN_VALUE, lines=True)):
                return
        elif not (yield from source.peek()):
            return
    arguments.end()


def _json_arguments(source: Source, sink: Sink) -> Steps[None]:
    """`<function=name>{...}</function>`, as Functionary and Llama 3.1 write it."""
    yield from copy_arguments(source, sink.arguments, _QWEN_JSON_ENDS, in_strings=True)
    if (yield from source.peek()):
        sink.close()
    found = yield from source.until(_QWEN_JSON_ENDS, _drop)
    if found in (_CLOSE, _OPEN):
        source.put_back(found)


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
    arguments = TaggedArguments(sink, tools, name)
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
            if not (yield from arguments.copy(source, "".join(key).strip(), _GLM_VALUE)):
                return
        elif found:
            source.put_back(found)
        else:
            return
    arguments.end()


def _drop(text: str) -> None:
    pass
