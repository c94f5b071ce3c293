"""A stop string cuts an answer that has a form as it cuts any other: as in vLLM, whole and streamed alike."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.harness import client, events
from tests.server.talker import Talker

pytestmark = pytest.mark.anyio
MESSAGES = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
NAMED = {"type": "function", "function": {"name": "add"}}
CUT = '{"x": "one '
# (what the model would say, what the client asks for, content, arguments, finish_reason)
CASES: list[tuple[str, dict[str, Any], str, str, str]] = [
    ('{"x": "one STOP two"}', {"response_format": {"type": "json_object"}}, CUT, "", "stop"),
    ('{"x": "one STOP two"}', {"tools": TOOLS, "tool_choice": NAMED}, "", CUT, "tool_calls"),
    (
        '[{"name": "add", "parameters": {"x": "one STOP two"}}]',
        {"tools": TOOLS, "tool_choice": "required"},
        "",
        CUT,
        "tool_calls",
    ),
    (
        '<tool_call>{"name": "add", "arguments": {"x": "one STOP two"}}</tool_call>',
        {"tools": TOOLS, "response_format": {"type": "json_object"}},
        "",
        CUT,
        "tool_calls",
    ),
]


@pytest.mark.parametrize("case", CASES)
async def test_a_stop_string_cuts_a_form(case: tuple[str, dict[str, Any], str, str, str]) -> None:
    text, asked, *expected = case
    body = {"messages": MESSAGES, "stop": ["STOP"], "max_tokens": 200, **asked}
    async with client(llm=Talker(text, tokens_per_step=3).llm) as http:
        whole = (await http.post("/v1/chat/completions", json=body)).json()["choices"][0]
        streamed = await http.post("/v1/chat/completions", json={**body, "stream": True})
    calls = whole["message"].get("tool_calls") or []
    arguments = "".join(call["function"]["arguments"] for call in calls)
    assert [whole["message"]["content"] or "", arguments, whole["finish_reason"]] == expected
    choices = [choice for event in events(streamed.text) for choice in event["choices"]]
    deltas = [choice["delta"] for choice in choices]
    parts = [part["function"].get("arguments", "") for delta in deltas for part in delta.get("tool_calls") or ()]
    said = ["".join(delta.get("content") or "" for delta in deltas), "".join(parts), choices[-1]["finish_reason"]]
    assert said == expected
    assert whole["stop_reason"] == choices[-1]["stop_reason"] == "STOP"


async def test_the_other_dialects_say_so_too() -> None:
    async with client(llm=Talker('{"x": "one STOP two"}').llm) as http:
        form = {"type": "json_schema", "schema": {"type": "object"}}
        asked = {"stop_sequences": ["STOP"], "output_config": {"format": form}, "max_tokens": 200}
        message = (await http.post("/v1/messages", json={"messages": MESSAGES, **asked})).json()
        assert (message["content"][0]["text"], message["stop_reason"]) == (CUT, "stop_sequence")
        body = {"input": "hello", "stop": ["STOP"], "text": {"format": {**form, "name": "a"}}}
        response = (await http.post("/v1/responses", json=body)).json()
        assert response["output"][0]["content"][0]["text"] == CUT
        body = {"prompt": "hello", "stop": ["STOP"], "structured_outputs": {"json_object": True}, "max_tokens": 200}
        choice = (await http.post("/v1/completions", json=body)).json()["choices"][0]
        assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (CUT, "stop", "STOP")
