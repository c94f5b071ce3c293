"""Arguments may hold every mark of every format: they come out whole, streamed and not, and so does the next call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.answers.assistant import AssistantMessage, parse_whole
from server.answers.parsers import choose_parsers
from server.answers.tools.choice import tool_use
from server.answers.tools.families import FAMILIES
from tests.server.call_texts import BAR, CALLS

WRITE = {"path": {"type": "string"}, "content": {"type": "string"}}
TOOLS = [
    {"type": "function", "function": {"name": "write", "parameters": {"type": "object", "properties": WRITE}}},
    {"type": "function", "function": {"name": "now"}},
]
ENDS = (
    "</tool_call> <|/tool_call|> </parameter> </function> </arg_value> </param> ]]> <escape> <end_function_call> ``` "
    "<|tool_call_end|> <|tool_calls_section_end|> <|end|> <|call|> <|return|> <|python_end|> [TOOL_CALLS] [ARGS] "
    f"<{BAR}tool▁call▁end{BAR}> <{BAR}tool▁calls▁end{BAR}> </think> <|eom_id|> functools[ <function_call> <tool_call>"
).split()
PIECES = [*ENDS, '"', "'", "\\", '\\"', "{", "}", "[]", "}}", ", ", "\n", "\t", "é", "東", "🙂", "\u2028", "<", "</"]


def parsed(family: str, pieces: list[str]) -> list[tuple[str, str]]:
    reasoning = "openai_gptoss" if family == "openai" else "qwen3"
    make = choose_parsers("", frozenset(), tool_parser=family, reasoning_parser=reasoning).parser(
        tool_use(TOOLS), "<think></think>"
    )
    assert make is not None
    message, parser = AssistantMessage(), make()
    for piece in pieces:
        message.add(parser.feed(piece))
    message.add(parser.end())
    whole = parse_whole(make(), "".join(pieces))
    assert (message.content, whole.content) == ("", "")
    calls = [(call.name, call.arguments) for call in message.tool_calls]
    assert calls == [(call.name, call.arguments) for call in whole.tool_calls]
    return calls


def check(family: str, given: dict[str, Any], cuts: int = 1) -> None:
    text = CALLS[family]("write", given) + "\n" + CALLS[family]("now", {})
    (first, arguments), (second, nothing) = parsed(family, [text[at : at + cuts] for at in range(0, len(text), cuts)])
    assert (first, json.loads(arguments)) == ("write", given)
    assert (second, json.loads(nothing)) == ("now", {})


def test_every_family_is_tried() -> None:
    assert set(CALLS) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_end_mark_of_every_family_in_a_text(family: str) -> None:
    for mark in ENDS:
        for text in (f"{mark} first, {mark}{mark} of them", f"last {mark}"):
            if family != "functiongemma" or "<escape>" not in text[-20:]:  # a delimiter beside a delimiter
                check(family, {"path": "a", "content": text})
    check(family, {"content": " ".join(ENDS) + " and on", "path": "a" + "".join(ENDS[:4]) + "b"})


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_arguments_survive_whole(family: str, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.sampled_from(PIECES), max_size=12))
    texts = " w ".join(words), data.draw(st.sampled_from(["", "x", "é"])) + "-".join(words[:4]) + "."
    given_ = dict(zip(("content", "path"), texts, strict=True))
    check(family, given_, cuts=data.draw(st.sampled_from([1, 2, 5, 11, 10**6])))


@pytest.mark.parametrize("family", ["qwen3_coder", "glm45"])
def test_a_text_may_hold_a_whole_call(family: str) -> None:
    """What an agent writes that works on parsers of its own format."""
    example = CALLS[family]("f", {"a": "1", "b": "</tool_call>"})
    check(family, {"content": f"For example:\n{example}\nand so on.", "path": "a.md"})


@pytest.mark.parametrize("family", ["kimi_k2", "deepseek_v3", "openai", "hermes", "mistral"])
def test_a_call_that_was_cut_off_after_a_mark_in_its_text_keeps_it(family: str) -> None:
    for mark in ENDS:
        text = CALLS[family]("write", {"content": f"the {mark} mark"})
        cut = text[: text.index(" mark") + 5]
        ((name, arguments),) = parsed(family, list(cut))
        assert (name, arguments) == ("write", f'{{"content": "the {mark} mark')
