"""Families whose calls stand between markers, name first, then the arguments as JSON: DeepSeek, Kimi, Mistral."""

from __future__ import annotations

import re

from server.answers.tools.call_object import read_calls
from server.answers.tools.json_text import copy_arguments
from server.answers.tools.sink import NAME, WORD, Sink
from server.answers.tools.source import Markers, Source, Steps
from server.answers.tools.toolbox import Toolbox

_BAR = "\uff5c"  # the full-width bar that DeepSeek's tokens have in place of |
DEEPSEEK_SECTION, DEEPSEEK_BEGIN = f"<{_BAR}tool▁calls▁begin{_BAR}>", f"<{_BAR}tool▁call▁begin{_BAR}>"
DEEPSEEK_SEP = f"<{_BAR}tool▁sep{_BAR}>"
DEEPSEEK_END, DEEPSEEK_SECTION_END = f"<{_BAR}tool▁call▁end{_BAR}>", f"<{_BAR}tool▁calls▁end{_BAR}>"
_DEEPSEEK_FENCED_END = "\n```" + DEEPSEEK_END
_DEEPSEEK_STOPS = Markers(DEEPSEEK_SECTION, DEEPSEEK_BEGIN, DEEPSEEK_END, _DEEPSEEK_FENCED_END, DEEPSEEK_SECTION_END)
_DEEPSEEK_HEADER = Markers(DEEPSEEK_SEP, *_DEEPSEEK_STOPS.spellings)
_FENCE = Markers("```json", "```\n")

KIMI_SECTION, KIMI_BEGIN = "<|tool_calls_section_begin|>", "<|tool_call_begin|>"
_KIMI_ARGUMENTS = "<|tool_call_argument_begin|>"
_KIMI_STOPS = Markers(KIMI_SECTION, KIMI_BEGIN, "<|tool_call_end|>", "<|tool_calls_section_end|>")
_KIMI_HEADER = Markers(_KIMI_ARGUMENTS, *_KIMI_STOPS.spellings)
_KIMI_ID = re.compile(r"(?:functions\.)?([A-Za-z0-9_.:/-]+?)(?::(\d+))?")

MISTRAL_CALLS = "[TOOL_CALLS]"
_MISTRAL = Markers(MISTRAL_CALLS)
_MISTRAL_ARGS, _MISTRAL_ID = Markers("[ARGS]"), Markers("[CALL_ID]")


def deepseek(source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
    """V3 and R1: `BEGIN function SEP name, a fence with JSON in it, END`; V3.1: `BEGIN name SEP JSON END`."""
    while found := (yield from source.until(_DEEPSEEK_STOPS, sink.content)):
        if found != DEEPSEEK_BEGIN:
            continue
        source.hold(found)
        header: list[str] = []
        separator = yield from source.until(_DEEPSEEK_HEADER, header.append)
        name = "".join(header).strip()
        if separator == DEEPSEEK_SEP:
            yield from source.spaces()
            if name == "function" and (yield from source.peek()) not in ("{", "["):
                name = yield from source.run(WORD)
                if not (yield from source.peek()):
                    name = ""  # cut off, perhaps within it
            yield from source.spaces()
            yield from source.follows(_FENCE)
            yield from source.spaces()
        elif separator:
            source.put_back(separator)
        yield from _call(source, sink, name if separator == DEEPSEEK_SEP else "", None, _DEEPSEEK_STOPS)


def kimi(source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
    """`BEGIN functions.name:index ARGUMENTS JSON END`, all of them in a section."""
    while found := (yield from source.until(_KIMI_STOPS, sink.content)):
        if found != KIMI_BEGIN:
            continue
        source.hold(found)
        header: list[str] = []
        separator = yield from source.until(_KIMI_HEADER, header.append)
        call_id = "".join(header).strip()
        parts = _KIMI_ID.fullmatch(call_id)
        if separator and separator != _KIMI_ARGUMENTS:
            source.put_back(separator)
        yield from source.spaces()
        whole = separator == _KIMI_ARGUMENTS or (separator and parts and parts[2])  # else cut off, perhaps within it
        name = parts[1] if parts and whole else ""
        yield from _call(source, sink, name, call_id if parts and parts[2] else None, _KIMI_STOPS)


def mistral(source: Source, sink: Sink, tools: Toolbox) -> Steps[None]:
    """`[TOOL_CALLS]` with a JSON array of calls, or `[TOOL_CALLS]name[ARGS]JSON` for each of them."""
    while (yield from source.until(_MISTRAL, sink.content)):
        source.hold(MISTRAL_CALLS)
        yield from source.spaces()
        if (yield from source.peek()) in ("[", "{"):
            yield from read_calls(source, sink, _MISTRAL)
            continue
        name = yield from source.run(WORD)
        call_id = None
        if (yield from source.follows(_MISTRAL_ID)):
            call_id = (yield from source.run(WORD)) or None
        marked = yield from source.follows(_MISTRAL_ARGS)
        yield from source.spaces()
        if not NAME.fullmatch(name) or not (marked or (yield from source.peek()) == "{"):
            sink.content(source.release())
            continue
        source.release()
        sink.call(name, call_id)
        yield from _arguments(source, sink, _MISTRAL)


def _call(source: Source, sink: Sink, name: str, call_id: str | None, stops: Markers) -> Steps[None]:
    """Its arguments, and whatever follows them up to a stop. Without a proper name it is content."""
    if not NAME.fullmatch(name):
        sink.content(source.release())
        return
    source.release()
    sink.call(name, call_id)
    yield from _arguments(source, sink, stops, in_strings=True)
    found = yield from source.until(stops, lambda _: None)
    source.put_back(found)


def _arguments(source: Source, sink: Sink, stops: Markers, *, in_strings: bool = False) -> Steps[None]:
    if not (yield from source.ahead(stops)):
        yield from copy_arguments(source, sink.arguments, stops, in_strings=in_strings)
    if (yield from source.peek()):  # else the answer was cut off
        sink.close()
