"""What each family of models writes, and what it says: golden transcripts, whole and however they are cut."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.answers.assistant import AssistantMessage, AssistantParser, parse_whole
from server.answers.parsers import AnswerParsers, choose_parsers
from server.answers.tools.choice import tool_use
from server.answers.tools.families import FAMILIES, find_family

FOLDER = Path(__file__).parent / "transcripts"
TOOLS = json.loads((FOLDER / "tools.json").read_text())
FILES = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "tools")


@cache
def document(family: str) -> dict:
    return json.loads((FOLDER / f"{family}.json").read_text())


def cases() -> list:
    return [
        pytest.param(name, case, id=f"{name}-{case['name']}")
        for name in FILES
        for case in document(name)["transcripts"]
    ]


def parser(family: str, case: dict) -> AssistantParser:
    names = document(family)
    parsers: AnswerParsers = choose_parsers(
        "", frozenset(), tool_parser=names["tool_parser"], reasoning_parser=names["reasoning_parser"]
    )
    make = parsers.parser(tool_use(TOOLS, "auto"), case.get("prompt", "<prompt></think>"), show_special=True)
    assert make is not None
    return make()


def shown(message: AssistantMessage, case: dict) -> dict:
    """The message as a transcript has it; ids only where the transcript gives one."""
    calls = [{"name": call.name, "arguments": call.arguments, "id": call.id} for call in message.tool_calls]
    for call, expected in zip(calls, case["calls"], strict=False):
        if "id" not in expected:
            del call["id"]
    return {"reasoning": message.reasoning, "content": message.content, "calls": calls}


def expected(case: dict) -> dict:
    return {name: case[name] for name in ("reasoning", "content", "calls")}


def in_pieces(parser: AssistantParser, pieces: list[str]) -> AssistantMessage:
    message = AssistantMessage()
    seen: set[int] = set()
    for delta in [*map(parser.feed, pieces), parser.end()]:
        for part in delta.tool_calls:
            assert (part.name is None) == (part.id is None) == (part.index in seen), "id and name come once, first"
            seen.add(part.index)
        message.add(delta)
    return message


def test_there_are_twenty_transcripts_of_each_family() -> None:
    assert {find_family(name).name for name in FILES} == set(FAMILIES)
    assert {name: len(document(name)["transcripts"]) >= 20 for name in FILES} == dict.fromkeys(FILES, True)


@pytest.mark.parametrize(("family", "case"), cases())
def test_it_is_understood(family: str, case: dict) -> None:
    assert shown(parse_whole(parser(family, case), case["text"]), case) == expected(case)


@pytest.mark.parametrize("family", FILES)
def test_character_by_character_it_says_the_same(family: str) -> None:
    for case in document(family)["transcripts"]:
        assert shown(in_pieces(parser(family, case), list(case["text"])), case) == expected(case), case["name"]


@pytest.mark.parametrize("family", FILES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_regrouped_it_says_the_same(family: str, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(document(family)["transcripts"]))
    text = case["text"]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert shown(in_pieces(parser(family, case), pieces), case) == expected(case)


@pytest.mark.parametrize("family", FILES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_nonsense_says_the_same_in_pieces(family: str, data: st.DataObject) -> None:
    """Markers, brackets and words in any order: what is read does not depend on the cuts, and no text is made up."""
    found = find_family(family)
    words = [
        *found.markers,
        *'{}[]()",:=<>\\ \n',
        "<think>",
        "</think>",
        '{"name": "now", ',
        '"arguments": {',
        "now",
        "é",
    ]
    text = "".join(data.draw(st.lists(st.sampled_from(words), max_size=30)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    case = {"text": text, "calls": []}
    whole, cut = parse_whole(parser(family, case), text), in_pieces(parser(family, case), pieces)
    for message in (whole, cut):
        for call in message.tool_calls:
            call.id = ""
    assert cut == whole
