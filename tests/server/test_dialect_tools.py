"""Tools, reasoning and structured output through /v1/responses and /v1/messages: what chats do, in other words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anthropic
import httpx2
import openai
import pytest
from pydantic import BaseModel

from server.app import build_app
from tests.server.harness import client
from tests.server.talker import Talker

pytestmark = pytest.mark.anyio
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CALL = '<think>where?</think>Let me see.<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
FUNCTION = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": None}
TOOL = {"name": "weather", "input_schema": SCHEMA}
ASK = {"model": "fake", "max_tokens": 200, "messages": [{"role": "user", "content": "hello"}]}


@asynccontextmanager
async def clients(talker: Talker) -> AsyncIterator[tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic]]:
    options = {"api_key": "key", "max_retries": 0, "_strict_response_validation": True}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(build_app(talker.llm))) as http:
        yield (
            openai.AsyncOpenAI(base_url="http://test/v1", http_client=http, **options),
            anthropic.AsyncAnthropic(base_url="http://test", http_client=http, **options),
        )
    talker.llm.shutdown()


@pytest.mark.parametrize("tokens_per_step", [1, 7])
async def test_a_function_is_called_and_its_output_taken_back(tokens_per_step: int) -> None:
    talker = Talker(CALL, tokens_per_step=tokens_per_step)
    async with clients(talker) as (ai, _):
        whole = await ai.responses.create(model="fake", input="hello", tools=[FUNCTION])
        async with ai.responses.stream(model="fake", input="hello", tools=[FUNCTION]) as stream:
            async for _ in stream:
                pass
            streamed = await stream.get_final_response()
        for response in (whole, streamed):
            reasoning, message, call = response.output
            assert reasoning.content[0].text == "where?"
            assert message.content[0].text == "Let me see."
            assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Rome"})
            assert 0 < response.usage.output_tokens_details.reasoning_tokens < response.usage.output_tokens
        talker.text = "Sunny."
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "25 degrees"}
        told = await ai.responses.create(
            model="fake", input=[output], previous_response_id=streamed.id, tools=[FUNCTION]
        )
    assert told.output_text == "Sunny."
    assert "<think>where?</think>Let me see.<tool_call>weather:city=Rome;</tool_call>" in talker.prompt()
    assert "tool\n25 degrees<|im_end|>" in talker.prompt()


@pytest.mark.parametrize("tokens_per_step", [1, 7])
async def test_a_tool_is_used_and_its_result_taken_back(tokens_per_step: int) -> None:
    talker = Talker(CALL, tokens_per_step=tokens_per_step)
    async with clients(talker) as (_, claude):
        whole = await claude.messages.create(**ASK, tools=[TOOL])
        async with claude.messages.stream(**ASK, tools=[TOOL]) as stream:
            streamed = await stream.get_final_message()
        for message in (whole, streamed):
            thinking, text, use = message.content
            assert (thinking.thinking, text.text) == ("where?", "Let me see.")
            assert (use.name, use.input, message.stop_reason) == ("weather", {"city": "Rome"}, "tool_use")
        talker.text = "Sunny."
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "25 degrees"}
        history = [*ASK["messages"], {"role": "assistant", "content": streamed.content}]
        history.append({"role": "user", "content": [result, {"type": "text", "text": "so?"}]})
        told = await claude.messages.create(**{**ASK, "messages": history}, tools=[TOOL])
        count = await claude.messages.count_tokens(model="fake", messages=history, tools=[TOOL])
    assert (told.content[0].text, told.stop_reason) == ("Sunny.", "end_turn")
    assert "<think>where?</think>Let me see.<tool_call>weather:city=Rome;</tool_call>" in talker.prompt()
    assert "tool\n25 degrees<|im_end|>\n<|im_start|>user\nso?" in talker.prompt()
    assert count.input_tokens == len(talker.engine.requests[-1].prompt_token_ids)


async def test_tool_choice_none_and_one_call_at_a_time() -> None:
    two = CALL + CALL.partition("</think>Let me see.")[2]
    async with clients(Talker(two)) as (ai, claude):
        response = await ai.responses.create(model="fake", input="a", tools=[FUNCTION], parallel_tool_calls=False)
        assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
        choice = {"type": "auto", "disable_parallel_tool_use": True}
        message = await claude.messages.create(**ASK, tools=[TOOL], tool_choice=choice)
        assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
        response = await ai.responses.create(model="fake", input="a", tools=[FUNCTION], tool_choice="none")
        assert [item.type for item in response.output] == ["reasoning", "message"]


class City(BaseModel):
    city: str


async def test_formats_reach_the_engine_as_those_of_chats_do() -> None:
    talker = Talker('{"city": "Rome"}')
    async with clients(talker) as (ai, claude):
        response = await ai.responses.parse(model="fake", input="hello", text_format=City)
        assert response.output_parsed == City(city="Rome")
        await ai.responses.create(model="fake", input="hello", text={"format": {"type": "json_object"}})
        form = {"type": "json_schema", "schema": City.model_json_schema()}
        message = await claude.messages.create(**ASK, output_config={"format": form})
        assert message.content[0].text == '{"city": "Rome"}'
    schema, any_object, again = (request.params.structured_outputs for request in talker.engine.requests)
    assert schema.json["required"] == again.json["required"] == ["city"]
    assert any_object.json_object


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/v1/responses", {"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format"),
        ("/v1/responses", {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "x"}}}}, "text"),
        ("/v1/responses", {"tools": [{**FUNCTION, "name": "../x"}]}, "tools"),
        ("/v1/responses", {"tools": [FUNCTION], "tool_choice": "some"}, "tool_choice"),
        ("/v1/responses", {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "other"}}, "tool_choice"),
        (
            "/v1/messages",
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "x"}}}},
            "output_config",
        ),
        ("/v1/messages", {"tools": [{**TOOL, "name": "../x"}]}, "tools"),
        ("/v1/messages", {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice"),
    ],
)
async def test_refusals_name_the_dialects_own_field(path: str, body: dict, word: str) -> None:
    base = {"input": "hello"} if path == "/v1/responses" else ASK
    async with client(llm=Talker().llm) as http:
        answer = await http.post(path, json={**base, **body})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert word in (error.get("param") or error["message"]), error
