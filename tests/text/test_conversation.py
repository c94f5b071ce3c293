"""What clients send becomes one normal form, and the form that a template takes, before it is rendered."""

from __future__ import annotations

from typing import Any

import pytest

from jaxpaged.text.chat_template import ChatOptions, render_chat
from tests.text import templates
from tests.text.samples import hf_tokenizer

TOKENIZER = hf_tokenizer()
HELLO = {"role": "user", "content": "hello"}
HI = {"role": "assistant", "content": "hi"}
SYSTEM = {"role": "system", "content": "brief"}
LATE = {"role": "system", "content": "polite"}
TEXTS = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
KIND: Any = "auto"


def prompt(template: str, *messages: dict[str, Any], content_format: Any = KIND) -> str:
    options = ChatOptions(chat_template=template, add_generation_prompt=False, content_format=content_format)
    return render_chat(TOKENIZER, messages, options).prompt


def called(arguments: object, **fields: object) -> dict[str, Any]:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call], **fields}


@pytest.mark.parametrize("fields", [{}, {"content": None}, {"content": ""}, {"content": []}])
def test_no_content_is_an_empty_text(fields: dict[str, Any]) -> None:
    rendered = prompt(templates.STRICT_CONTENT, HELLO, called('{"x": 1}', **fields), {"role": "tool", **fields})
    assert rendered == '[user]hello[assistant]<call>f [["x", 1]]</call>[tool].'


@pytest.mark.parametrize("calls", [[], None])
def test_an_empty_list_of_calls_is_none(calls: object) -> None:
    assert prompt(templates.STRICT_CONTENT, HELLO, {**HI, "tool_calls": calls}) == "[user]hello[assistant]hi"


CUT = [
    '{"x": "h',
    "",
    " ",
    "null",
    "[1]",
    "3",
    '{"x": 1,}',
    "{" * 100_000,
    '"\\ud800"',
    '{"x": "\\ud800"}',
    None,
    7,
    ["x"],
]


@pytest.mark.parametrize("arguments", CUT)
def test_arguments_that_are_no_object_are_empty(arguments: object) -> None:
    assert prompt(templates.STRICT_CONTENT, HELLO, called(arguments)).endswith("<call>f []</call>")


def test_a_call_without_arguments_has_empty_ones() -> None:
    message = {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}
    assert prompt(templates.STRICT_CONTENT, message).endswith("<call>f []</call>")


def test_arguments_are_text_for_templates_that_want_text() -> None:
    for arguments in ('{"x": "é"}', {"x": "é"}):
        assert prompt(templates.TEXT_ARGUMENTS, HELLO, called(arguments)).endswith('f {"x": "é"}')


def test_a_call_of_a_custom_tool_is_one_of_a_function() -> None:
    call = {"id": "1", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert prompt(templates.STRICT_CONTENT, message).endswith('<call>patch [["input", "*** Begin"]]</call>')


def test_a_refusal_is_what_was_said() -> None:
    assert (
        prompt(templates.STRICT_CONTENT, HELLO, {**HI, "content": None, "refusal": "no"}) == "[user]hello[assistant]no"
    )


def test_functions_are_tools() -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    result = {"role": "function", "name": "f", "content": "done"}
    assert prompt(templates.STRICT_CONTENT, HELLO, call, result) == "[user]hello[assistant]<call>f []</call>[tool]done."


def test_reasoning_has_both_names() -> None:
    template = "{{ messages[0].reasoning }}{{ messages[0].reasoning_content }}"
    for name in ("reasoning", "reasoning_content"):
        assert prompt(template, {**HI, name: "hm"}) == "hmhm"


def test_developer_is_system_where_the_template_does_not_know_it() -> None:
    said = {"role": "developer", "content": "brief"}
    assert prompt(templates.STRICT_CONTENT, said, HELLO) == "[system]brief[user]hello"
    assert prompt(templates.DEVELOPER, said, HELLO) == "<dev>brief[user]hello"
    same = templates.DEVELOPER.replace("<dev>", "[system]")
    assert prompt(same, HELLO, said) == "[user]hello[system]brief"
    any_role = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    assert prompt(any_role, said, HELLO) == "[system]brief[user]hello"


def test_system_messages_are_joined_to_the_first_where_the_template_takes_no_others() -> None:
    joined = "brief\n\npolite"
    assert prompt(templates.ALTERNATING, SYSTEM, LATE, HELLO) == f"<<{joined}>>[user]hello"
    assert (
        prompt(templates.ALTERNATING, SYSTEM, HELLO, HI, LATE, HELLO)
        == f"<<{joined}>>[user]hello[assistant]hi[user]hello"
    )
    assert prompt(templates.ALTERNATING, HELLO, HI, HELLO, LATE) == "<<polite>>[user]hello[assistant]hi[user]hello"
    between = prompt(templates.ALTERNATING, SYSTEM, HELLO, {"role": "developer", "content": TEXTS}, HELLO, HI)
    assert between == "<<brief\n\none\ntwo>>[user]hello\n\nhello[assistant]hi"
    dropped = prompt(templates.STRICT_CONTENT, SYSTEM, HELLO, LATE)
    assert dropped == f"[system]{joined}[user]hello"


def test_system_messages_stay_where_the_template_takes_them() -> None:
    assert (
        prompt(templates.DEVELOPER, SYSTEM, LATE, HELLO, LATE) == "[system]brief[system]polite[user]hello[system]polite"
    )


def test_parts_are_handed_on_where_the_template_walks_over_them() -> None:
    assert prompt(templates.PARTS, {**HELLO, "content": TEXTS}) == "[user]onetwo"
    assert prompt(templates.PARTS, {**SYSTEM, "content": TEXTS}, HELLO) == "[system]one\ntwo[user]hello"
    assert prompt(templates.PARTS, HELLO, {"role": "tool", "content": TEXTS}) == "[user]hello[tool]one\ntwo"
    assert prompt(templates.STRICT_CONTENT, {**HELLO, "content": ["one", TEXTS[1]]}) == "[user]one\ntwo"
    assert prompt(templates.ONLY_PARTS, HELLO, {**HI, "content": TEXTS}) == "[user]hello[assistant]onetwo"


def test_a_content_format_is_as_it_is_asked_for() -> None:
    kinds = "{% for m in messages %}{{ m.content is string }} {% endfor %}"
    messages = (HELLO, {**HELLO, "content": TEXTS}, {"role": "tool", "content": TEXTS})
    assert prompt(kinds, *messages, content_format="openai") == "False False True "
    assert prompt(kinds, *messages, content_format="string") == "True True True "


def test_parts_of_other_dialects_are_text() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "refusal", "refusal": "b"}, {"type": "text", "text": None}]
    assert prompt(templates.STRICT_CONTENT, {**HELLO, "content": parts}) == "[user]a\nb"
    assert prompt(templates.STRICT_CONTENT, {**HELLO, "content": parts[2:]}) == "[user]"
    assert prompt(templates.PARTS, {**HELLO, "content": parts[2:]}) == "[user]"


def test_parts_become_text_where_the_template_takes_them_in_some_places_only() -> None:
    template = templates.PARTS.replace("{{ said(", "{% if m.tool_calls %}{{ m.content + '!' }}{% endif %}{{ said(")
    assert prompt(template, {**HELLO, "content": TEXTS}) == "[user]onetwo"
    rendered = prompt(template, {**HELLO, "content": TEXTS}, called("{}", content=TEXTS))
    assert rendered == "[user]one\ntwo[assistant]one\ntwo!one\ntwo"
