"""tool_choice: what it makes the answer be, and how such answers are read."""

from __future__ import annotations

import json

import pytest

from server.answers.assistant import AssistantMessage, parse_whole
from server.answers.parsers import choose_parsers
from server.answers.tools.choice import MAX_TOOLS, ToolUse, forced_schema, tool_use
from server.errors import ApiError

NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
ADD = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
LINK = {"type": "object", "properties": {"first": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": NODE}}


def tools(**schemas: dict) -> list[dict]:
    return [{"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in schemas.items()]


def named(name: str) -> dict:
    return {"type": "function", "function": {"name": name}}


def item(name: str, schema: dict) -> dict:
    properties = {"name": {"type": "string", "enum": [name]}, "parameters": schema}
    call = {"type": "object", "properties": properties, "required": ["name", "parameters"]}
    return {**call, "additionalProperties": False}


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_a_free_choice_has_no_schema(choice: str | None) -> None:
    assert forced_schema(tool_use(tools(add=ADD), choice)) is None
    assert forced_schema(ToolUse()) is None


def test_required_is_an_array_of_calls() -> None:
    empty = {"type": "object", "properties": {}}
    schema = forced_schema(tool_use(tools(add=ADD, now={}), "required"))
    items = {"type": "object", "anyOf": [item("add", ADD), item("now", empty)]}
    assert schema == {"type": "array", "minItems": 1, "items": items}
    assert forced_schema(tool_use(tools(add=ADD), "required", parallel=False))["maxItems"] == 1


def test_named_is_the_arguments() -> None:
    assert forced_schema(tool_use(tools(add=ADD, link=LINK), named("add"))) == ADD
    assert forced_schema(tool_use(tools(add=ADD, link=LINK), named("link"))) == LINK


def test_references_still_point_at_what_they_meant() -> None:
    """Two tools may define different things under one name."""
    other = {"type": "object", "properties": {"n": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": {"type": "string"}}}
    schema = forced_schema(tool_use(tools(link=LINK, other=other, add=ADD), "required"))
    links = [part["properties"]["parameters"] for part in schema["items"]["anyOf"]]
    assert links == [{"$ref": "#/$defs/link"}, {"$ref": "#/$defs/other"}, ADD]
    for name, target in (("link", "object"), ("other", "string")):
        moved = schema["$defs"][name]
        (reference,) = (value["$ref"] for value in moved["properties"].values())
        assert reference == f"#/$defs/{name}/$defs/Node"
        assert moved["$defs"]["Node"]["type"] == target
    assert schema["$defs"]["link"]["$defs"]["Node"]["properties"]["next"]["$ref"] == "#/$defs/link/$defs/Node"


def test_as_many_tools_as_there_may_be() -> None:
    many = tools(**{f"f{index}": {} for index in range(MAX_TOOLS)})
    assert len(tool_use(many).tools) == MAX_TOOLS
    with pytest.raises(ApiError) as caught:
        tool_use([*many, *tools(one_more={})])
    assert caught.value.param == "tools"


def read(
    text: str, choice: object, *, pieces: int = 10**6, prompt: str = "", family: str = "hermes"
) -> AssistantMessage:
    reasoning = "openai_gptoss" if family == "openai" else "qwen3"
    parsers = choose_parsers("", frozenset(), tool_parser=family, reasoning_parser=reasoning)
    parser = parsers.parser(tool_use(tools(add=ADD, now={}), choice), prompt)()
    message = AssistantMessage()
    for at in range(0, len(text), pieces):
        message.add(parser.feed(text[at : at + pieces]))
    message.add(parser.end())
    for call in message.tool_calls:
        call.id = ""
    return message


@pytest.mark.parametrize("pieces", [1, 2, 7, 10**6])
@pytest.mark.parametrize("family", ["hermes", "openai", "none", "pythonic"])
def test_forced_answers_are_calls_whatever_the_family(pieces: int, family: str) -> None:
    calls = ' [{"name": "add", "parameters": {"x": 1}}, {"name": "now", "parameters": {}}]\n'
    starts = [("", "", ""), ("", "<think>Hm [1]</think>\n", "Hm [1]"), ("<think>\n", "{Hm}</think>", "{Hm}")]
    for prompt, thought, reasoning in starts if family != "openai" else starts[:1]:
        message = read(thought + calls, "required", pieces=pieces, prompt=prompt, family=family)
        found = [(call.name, call.arguments) for call in message.tool_calls]
        assert (message.reasoning, message.content) == (reasoning, "")
        assert found == [("add", '{"x": 1}'), ("now", "{}")]
        message = read(thought + ' {"x": 1}\n', named("add"), pieces=pieces, prompt=prompt, family=family)
        found = [(call.name, call.arguments) for call in message.tool_calls]
        assert (message.reasoning, message.content, found) == (reasoning, "", [("add", '{"x": 1}')])


def test_what_may_come_before_an_answer_that_has_a_form() -> None:
    parsers = choose_parsers("<think>", frozenset())
    assert parsers.thought("Hello<think>\n").opened
    offered = parsers.thought("Hello")
    assert (offered.begin, offered.end, offered.opened) == (("<think>",), ("</think>",), False)
    assert parsers.thought("Hello<think>\n\n</think>\n\n") is None
    assert parsers.thought("Hello", begun="Of course") is None
    assert parsers.thought("Hello", begun="<think>Of course").opened
    assert choose_parsers("", frozenset()).thought("Hello") is None
    assert choose_parsers("<|channel|>", frozenset()).thought("Hello") is None


def test_forced_answers_that_were_cut_off() -> None:
    (call,) = read('[{"name": "add", "parameters": {"x"', "required").tool_calls
    assert (call.name, call.arguments) == ("add", '{"x"')
    (call,) = read('{"x": ', named("add")).tool_calls
    assert (call.name, call.arguments) == ("add", '{"x": ')
    assert read("", named("add")) == AssistantMessage()


@pytest.mark.parametrize("pieces", [1, 10**6])
def test_wherever_a_forced_answer_is_cut_off_nothing_of_a_call_is_content(pieces: int) -> None:
    whole = '[{"name": "add", "parameters": {"x": 1}}, {"name": "now", "parameters": {}}, {"name": "now"}]'
    for text, choice in ((whole, "required"), ("<think>Hm.</think> " + whole, "required"), ('{"x": 1}', named("add"))):
        seen = 0
        for end in range(len(text)):
            message = read(text[:end], choice, pieces=pieces)
            assert message.content == "", text[:end]
            calls = message.tool_calls
            assert len(calls) >= seen, text[:end]
            seen = len(calls)
            assert all(json.loads(call.arguments) is not None for call in calls[:-1])
            assert all(call.arguments in whole for call in calls)


def test_the_tools_that_may_be_called_are_listed() -> None:
    """OpenAI's allowed_tools: the others are left out."""
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "now"}}]}
    use = tool_use(tools(add=ADD, now={}), {"type": "allowed_tools", "allowed_tools": allowed})
    assert (use.choice, list(use.toolbox().parameters)) == ("required", ["now"])
    for broken in ({"mode": "none", "tools": []}, {"mode": "auto"}, 3, {**allowed, "tools": ["now"]}):
        with pytest.raises(ApiError) as caught:
            tool_use(tools(add=ADD), {"type": "allowed_tools", "allowed_tools": broken})
        assert caught.value.param == "tool_choice"
    with pytest.raises(ApiError, match="which tools lacks"):
        tool_use(tools(add=ADD), {"type": "allowed_tools", "allowed_tools": allowed})


def test_thoughts_may_come_before_a_forced_call() -> None:
    message = read('Hm.</think>\n\n{"x": 1}', named("add"), prompt="<think>")
    assert message.reasoning == "Hm."
    assert message.tool_calls[0].arguments == '{"x": 1}'


def test_a_call_of_our_own_is_read_back() -> None:
    """parse_whole() and a stream agree on what a forced parser makes of prose, too."""
    for text in ("no call", '["a"]', "{}"):
        parser = choose_parsers("", frozenset()).parser(tool_use(tools(add=ADD), "required"))()
        assert parse_whole(parser, text).content == text
