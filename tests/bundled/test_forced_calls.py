"""tool_choice "required" and named force a call out of the bundled model, which has never seen a tool."""

from __future__ import annotations

import asyncio
import json

import pytest

from jaxpaged import AsyncLLM
from tests.bundled.sizes import CONFIG
from tests.server.harness import client, events

PATH = "/v1/chat/completions"
ADD = {
    "type": "object",
    "properties": {"x": {"enum": [1, 2]}, "unit": {"$ref": "#/$defs/Unit"}},
    "required": ["x", "unit"],
    "additionalProperties": False,
    "$defs": {"Unit": {"enum": ["km", "mi"]}},
}
EMPTY = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": schema}}
    for name, schema in (("add", ADD), ("now", EMPTY))
]
NAMED = {"type": "function", "function": {"name": "add"}}


def check(name: str, arguments: str) -> None:
    values = json.loads(arguments)
    if name == "add":
        assert values["x"] in (1, 2)
        assert values["unit"] in ("km", "mi")
        assert set(values) == {"x", "unit"}
    else:
        assert (name, values) == ("now", {})


@pytest.mark.timeout(600)
def test_the_bundled_model_is_made_to_call() -> None:
    llm = AsyncLLM(CONFIG, progress=False)
    body = {
        "messages": [{"role": "user", "content": "What is 3 + 4?"}],
        "tools": TOOLS,
        "temperature": 0,
        "max_tokens": 200,
        "parallel_tool_calls": False,
        "tool_choice": "required",
    }
    functions = {name: value for name, value in body.items() if name not in ("tools", "tool_choice")}
    functions |= {"functions": [tool["function"] for tool in TOOLS], "function_call": {"name": "add"}}

    async def scenario() -> None:
        async with client(llm=llm) as http:
            required, named, streamed, old, both = await asyncio.gather(
                http.post(PATH, json=body),
                http.post(PATH, json={**body, "tool_choice": NAMED}),
                http.post(PATH, json={**body, "stream": True}),
                http.post(PATH, json=functions),
                http.post(PATH, json={**body, "response_format": {"type": "json_object"}}),
            )
        for answer, expected in ((required, None), (named, "add")):
            choice = answer.json()["choices"][0]
            assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
            (call,) = choice["message"]["tool_calls"]
            assert expected in (None, call["function"]["name"])
            check(call["function"]["name"], call["function"]["arguments"])
        whole = required.json()["choices"][0]["message"]["tool_calls"][0]["function"]
        deltas = [chunk["choices"][0]["delta"] for chunk in events(streamed.text)]
        parts = [part["function"] for delta in deltas for part in delta.get("tool_calls", [])]
        assert parts[0]["name"] == whole["name"]
        assert "".join(part["arguments"] for part in parts) == whole["arguments"]
        choice = old.json()["choices"][0]
        assert choice["finish_reason"] == "function_call"
        check("add", choice["message"]["function_call"]["arguments"])
        assert both.json()["choices"][0]["message"]["tool_calls"][0]["function"] == whole  # the format is set aside

    try:
        asyncio.run(scenario())
    finally:
        llm.shutdown()
