"""Tools that are refused through /v1/chat/completions, and hostile answers that are none the less answers."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.server.harness import client
from tests.server.talker import Talker
from tests.server.test_tools import MESSAGES, PATH, TOOLS, ask, stream, tool

pytestmark = pytest.mark.anyio


BAD = [
    ({"tools": [tool("../x")]}, "tools"),
    ({"tools": [tool("")]}, "tools"),
    ({"tools": [tool("f" * 65)]}, "tools"),
    ({"tools": [tool(3)]}, "tools"),
    ({"tools": [tool("f\n")]}, "tools"),
    ({"tools": [tool(f"f{i}") for i in range(10_000)]}, "tools"),
    ({"tools": [tool("f"), tool("f")]}, "tools"),
    ({"tools": [tool(parameters="string")]}, "tools"),
    ({"tools": [tool(parameters=[])]}, "tools"),
    ({"tools": [tool(parameters={"type": "string"})]}, "tools"),
    ({"tools": [tool(parameters={"properties": 3})]}, "tools"),
    ({"tools": [tool(description=3)]}, "tools"),
    ({"tools": [{"type": "web_search"}]}, "tools"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"tools": [{"type": "function", "function": "f"}]}, "tools"),
    ({"tools": ["f"]}, "tools.0"),
    ({"tools": {}}, "tools"),
    ({"tools": [tool()], "tool_choice": "always"}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": 3}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": {"type": "custom"}}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    ({"tools": [tool()], "parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ({"tools": [tool()], "functions": [{"name": "f"}]}, "functions"),
    ({"functions": [{"name": "../x"}]}, "functions"),
    ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call"),
    ({"function_call": {"name": "g"}}, "function_call"),
    ({"include_reasoning": "no"}, "include_reasoning"),
    ({"messages": [{"role": "assistant", "content": "", "tool_calls": 5}]}, "messages"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]}, "messages"),
]


async def test_what_cannot_be_is_refused_by_name() -> None:
    talker = Talker()
    async with client(llm=talker.llm) as http:
        for change, param in BAD:
            response = await http.post(PATH, json={"messages": MESSAGES, **change})
            assert response.status_code == 400, (str(change)[:200], response.text)
            error = response.json()["error"]
            assert error["param"] == param, (str(change)[:200], error)
            assert len(response.content) < 1000
        assert talker.engine.requests == []
        fine = [{"tools": [tool("a.b-c_D9")] + [tool(f"f{i}") for i in range(20)]}, {"tools": [tool(parameters=None)]}]
        for change in [*fine, {"tools": None, "tool_choice": "auto"}, {"tools": [], "tool_choice": "none"}]:
            response = await http.post(PATH, json={"messages": MESSAGES, "max_tokens": 1, **change})
            assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    "body", ['{"a":', "[", '"\\"', "__import__('os').abort() ", '<tool_call>{"name": "now", "arguments": ']
)
async def test_hostile_answers_are_answers(body: str) -> None:
    text = '<tool_call>{"name": "now", "arguments": ' + body * 100
    choice = await ask(Talker(text, tokens_per_step=200), tools=TOOLS)
    assert choice["finish_reason"] == "tool_calls"
    choices = await stream(Talker(text, tokens_per_step=7), tools=TOOLS)
    arguments = choice["message"]["tool_calls"][0]["function"]["arguments"]
    first = [part for choice in choices for part in choice["delta"].get("tool_calls", []) if part["index"] == 0]
    assert "".join(part["function"]["arguments"] for part in first) == arguments


async def test_tools_that_a_model_cannot_call_are_refused() -> None:
    """Its template would drop them in silence."""
    async with client() as http:
        for field, value in (("tools", TOOLS), ("functions", [TOOLS[0]["function"]])):
            response = await http.post(PATH, json={"messages": MESSAGES, field: value})
            assert response.status_code == 400
            assert response.json()["error"]["param"] == field
            assert "--tool-call-parser" in response.json()["error"]["message"]
        none = {"tools": TOOLS, "tool_choice": "none", "max_tokens": 1}
        assert (await http.post(PATH, json={"messages": MESSAGES, **none})).status_code == 200


async def test_huge_tools_are_too_long_a_prompt() -> None:
    async with client(llm=Talker().llm) as http:
        body = {"messages": MESSAGES, "tools": [tool(description="x " * 10_000)]}
        response: httpx.Response = await http.post(PATH, json=body)
    assert response.status_code == 400
    assert json.loads(response.content)["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("depth", [40, 150, 400, 1000, 20_000])
async def test_tools_nested_deeply_are_refused_whatever_the_choice(depth: int) -> None:
    """Made as text: json.dumps would not write it either."""
    schema = '{"type":"object","properties":{"a":' * depth + '{"type":"string"}' + "}}" * depth
    function = '{"name":"f","parameters":' + schema + "}"
    tool = '"tools":[{"type":"function","function":' + function + '}],"messages":[{"role":"user","content":"x"}]'
    flat = '"input":"x","tools":[{"type":"function",' + function[1:] + "]"
    anthropic = (
        '"max_tokens":9,"messages":[{"role":"user","content":"x"}],"tools":[{"name":"f","input_schema":' + schema
    )
    named = '{"type":"function","function":{"name":"f"}}'
    old = '"messages":[{"role":"user","content":"x"}],"functions":[' + function + '],"function_call":'
    bodies = [
        *((PATH, f'{{{tool},"tool_choice":{choice}}}') for choice in ('"auto"', '"required"', named)),
        *((PATH, f"{{{old}{choice}}}") for choice in ('"auto"', '{"name":"f"}')),
        *(
            ("/v1/responses", f'{{{flat},"tool_choice":{choice}}}')
            for choice in ('"auto"', '"required"', '{"type":"function","name":"f"}')
        ),
        *(
            ("/v1/messages", f'{{"model":"fake",{anthropic}}}],"tool_choice":{choice}}}')
            for choice in ('{"type":"auto"}', '{"type":"any"}', '{"type":"tool","name":"f"}')
        ),
        ("/tokenize", f"{{{tool}}}"),
    ]
    talker = Talker()
    async with client(llm=talker.llm) as http:
        for path, body in bodies:
            response = await http.post(path, content=body, headers={"content-type": "application/json"})
            free = depth == 40 and ('"auto"' in body or path == "/tokenize")
            assert response.status_code == (200 if free else 400), (path, body[-80:], response.text)
            assert free or "levels deep" in response.text or "nested too deeply" in response.text, response.text
