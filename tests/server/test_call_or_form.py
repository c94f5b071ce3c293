"""Tools beside a form of the answer: the answer is a call, or has the form; a call that is demanded sets it aside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer

from jaxpaged import Calls, StructuredOutputsParams, Thought
from jaxpaged.structured.compiler import GrammarCompiler
from jaxpaged.structured.vocabulary import GrammarVocabulary
from server.answers.parsers import choose_parsers
from server.answers.tools.choice import forced_schema, tool_use
from server.answers.tools.families import FAMILIES
from server.answers.tools.forms import FORMS
from tests.server.call_texts import BAR, CALLS
from tests.server.harness import client
from tests.server.talker import Talker
from tests.structured.grammars import accepts, may_follow
from tests.text.samples import byte_level_backend

pytestmark = pytest.mark.anyio
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
ANSWER = '{"a": 1}'
SAY = {"messages": [{"role": "user", "content": "hello"}], "model": "fake"}
PARAMETERS = {"type": "object", "properties": {"x": {"type": "integer"}}}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in ("add", "now")]
NESTED = {"content": "a b", "n": [1, {"x": None}]}
CALL = '<tool_call>\n{"name": "add", "arguments": {"x": 1}}\n</tool_call>'


def text_of(family: str) -> str:
    """A call as the model writes it, with what stands around all calls of an answer."""
    plain = family in ("qwen3_coder", "glm45", "minicpm5", "pythonic", "functiongemma")
    text = CALLS[family]("write", {"content": "a"} if plain else NESTED)
    around = {
        "kimi_k2": ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        "deepseek_v3": (f"<{BAR}tool▁calls▁begin{BAR}>", f"<{BAR}tool▁calls▁end{BAR}>"),
    }
    before, after = around.get(family, ("", ""))
    for left_out in ("<|start|>assistant", "<|python_end|>", "```json\n", "\n```", "<|/tool_call|>"):
        text = text.replace(left_out, "") if family in ("openai", "llama3_json", "xlam", "granite") else text
    return before + text + after


def test_every_family_has_a_form() -> None:
    assert set(FORMS) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_grammar_takes_a_call_or_the_form(family: str) -> None:
    calls, text = Calls(("write", "now"), FORMS[family]), text_of(family)
    assert accepts(text, json=SCHEMA, calls=calls)
    assert accepts(ANSWER, json=SCHEMA, calls=calls)
    for bad in ("Hello", ANSWER + text, text.replace("write", "other"), "", " " * 6 + ANSWER):
        assert not accepts(bad, json=SCHEMA, calls=calls), bad


@pytest.mark.parametrize("family", ["hermes", "mistral", "granite-20b-fc", "llama3_json"])
def test_calls_in_parallel(family: str) -> None:
    separator = "; " if family == "llama3_json" else "\n"
    one = text_of(family)
    two = one + separator + one.replace("<|python_tag|>", "")
    assert accepts(two, json=SCHEMA, calls=Calls(("write",), FORMS[family]))
    assert not accepts(two, json=SCHEMA, calls=Calls(("write",), FORMS[family], parallel=False))


def test_blanks_between_the_parts_are_few() -> None:
    calls = Calls(("write",), FORMS["hermes"])
    text = '<tool_call>%s{"name": "write", "arguments":%s{"a": 1}%s}</tool_call>'
    assert accepts(text % ("", " ", "\n"), json=SCHEMA, calls=calls)
    for blanks in ((" " * 5, "", ""), ("", "\n" * 5, ""), ("", "", " " * 5)):
        assert not accepts(text % blanks, json=SCHEMA, calls=calls)


def requests(choice: object) -> list[tuple[str, dict[str, Any]]]:
    """The same request in every dialect that has both."""
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    flat = [{"type": "function", **tool["function"]} for tool in TOOLS]
    anthropic = [{"name": tool["name"], "input_schema": PARAMETERS} for tool in flat]
    named = isinstance(choice, dict)
    message_choice = {"type": "tool", "name": "add"} if named else {"type": "any" if choice == "required" else choice}
    return [
        ("/v1/chat/completions", {**SAY, "tools": TOOLS, "tool_choice": choice, "response_format": form}),
        (
            "/v1/chat/completions",
            {**SAY, "tools": TOOLS, "tool_choice": choice, "structured_outputs": {"json": SCHEMA}},
        ),
        (
            "/v1/responses",
            {
                "input": "hello",
                "tools": flat,
                "tool_choice": {"type": "function", "name": "add"} if named else choice,
                "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
            },
        ),
        (
            "/v1/messages",
            {
                **SAY,
                "max_tokens": 500,
                "tools": anthropic,
                "tool_choice": message_choice,
                "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
            },
        ),
    ]


async def asked(choice: object, text: str = ANSWER) -> tuple[list[StructuredOutputsParams], list[str]]:
    """What the engine was asked for, and the answers."""
    talker, answers = Talker(text), []
    async with client(llm=talker.llm) as http:
        for path, body in requests(choice):
            response = await http.post(path, json=body)
            assert response.status_code == 200, response.text
            answers.append(response.text)
    return [request.params.structured_outputs for request in talker.engine.requests], answers


async def test_the_engine_is_asked_for_either() -> None:
    forms, answers = await asked("auto")
    assert [(form.schema(), form.calls.names) for form in forms] == [(SCHEMA, ("add", "now"))] * 4
    assert all(json.dumps(ANSWER)[1:-1] in answer for answer in answers)
    _, answers = await asked("auto", CALL)
    assert ['"type":"function"' in answers[0], '"function_call"' in answers[2], '"tool_use"' in answers[3]] == [
        True
    ] * 3
    assert not any("<tool_call>" in answer for answer in answers)
    forms, _ = await asked("none")
    assert [(form.schema(), form.calls) for form in forms] == [(SCHEMA, None)] * 4


async def test_a_demanded_call_sets_the_form_aside() -> None:
    forms, _ = await asked("required", '[{"name": "add", "parameters": {"x": 1}}]')
    schema = forced_schema(tool_use(TOOLS, "required"))
    assert [(form.schema(), form.calls) for form in forms] == [(schema, None)] * 4
    forms, answers = await asked({"type": "function", "function": {"name": "add"}}, '{"x": 1}')
    assert [(form.schema(), form.calls) for form in forms] == [(PARAMETERS, None)] * 4
    assert all("add" in answer for answer in answers)


@pytest.mark.parametrize("family", ["hermes", "mistral", "glm45", "qwen3_coder", "functiongemma"])
def test_marks_may_be_special_tokens(family: str) -> None:
    """Which are no text to a grammar: in the frame of a call, and in what the model writes in it freely."""
    backend = Tokenizer.from_str(byte_level_backend().to_str())  # a copy: others use it too
    marks = (*FAMILIES[family].markers, "<think>", "</think>")
    backend.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    vocabulary = GrammarVocabulary.from_json(backend.to_str(), backend.get_vocab_size())
    compiler = GrammarCompiler(vocabulary)
    calls = choose_parsers("", frozenset(), tool_parser=family).calls(tool_use(TOOLS))
    thought = Thought(("<think>",), ("</think>",))
    form = StructuredOutputsParams(json=SCHEMA, thought=thought, calls=calls)
    grammar = compiler.submit(form).result(30)
    call = CALLS[family]("add", {"x": "1"})
    for text in (call, "<think>Hm.</think>\n\n" + call, ANSWER, "<think>Hm.</think>" + ANSWER):
        constraint, mask = grammar.start.copy(), grammar.mask
        for token in backend.encode(text, add_special_tokens=False).ids:
            assert may_follow(mask, token), (text, backend.id_to_token(token))
            mask = constraint.advance([token])
        assert mask.accepting
    compiler.close()
