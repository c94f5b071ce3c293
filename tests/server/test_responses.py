"""/v1/responses, as openai-python meets it."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest

from server.app import build_app
from server.flags import ServerOptions
from server.openai.chat import PreparedChat
from tests.fake_engine import FakeEngine
from tests.server.harness import Exchange, async_llm, client, until
from tests.server.scripted import ToyParser, openai_client, prompt_of, saying, stopping_llm

pytestmark = pytest.mark.anyio
WEATHER = "[think] hello world {weather rome}{time now}"


def events(text: str) -> list[dict]:
    """The events of a stream, whose names are their types."""
    found = []
    for block in text.split("\n\n")[:-1]:
        name, _, data = block.partition("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PreparedChat, "parser", lambda self: ToyParser())


async def test_a_response_under_strict_validation() -> None:
    engine = saying("hello world")
    engine.cached_tokens = 7
    async with openai_client(engine) as ai:
        response = await ai.responses.create(
            model="fake",
            input="stop here",
            instructions="the fox",
            metadata={"a": "b"},
            temperature=0.5,
            user="me",
            store=True,
            truncation="disabled",
            service_tier="auto",
            prompt_cache_key="x",
            safety_identifier="y",
            text={"verbosity": "low"},
            include=["reasoning.encrypted_content"],
            parallel_tool_calls=True,
        )
    assert (response.status, response.output_text) == ("completed", "hello world")
    assert prompt_of(engine).startswith("<|im_start|>system\nthe fox<|im_end|>\n<|im_start|>user\nstop here")
    assert (response.instructions, response.metadata, response.temperature) == ("the fox", {"a": "b"}, 0.5)
    usage = response.usage
    prompt = len(engine.requests[0].prompt_token_ids)
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (prompt, 3, prompt + 3)
    assert usage.input_tokens_details.cached_tokens == 7
    assert usage.input_tokens_details.cache_write_tokens == prompt // 16 * 16 - 7
    assert usage.output_tokens_details.reasoning_tokens == 0
    assert engine.requests[0].params.temperature == 0.5


@pytest.mark.parametrize("tokens_per_step", [1, 3, 100])
@pytest.mark.parametrize("text", ["hello world", WEATHER, "[only thought]", "{call now}", "", "a [b] c"])
async def test_a_stream_says_the_same_as_one_body(toy, text: str, tokens_per_step: int) -> None:
    async with openai_client(saying(text, tokens_per_step=tokens_per_step)) as ai:
        whole = await ai.responses.create(model="fake", input="hello")
        async with ai.responses.stream(model="fake", input="hello") as stream:
            seen = [event async for event in stream]
            streamed = await stream.get_final_response()
    assert [event.sequence_number for event in seen if hasattr(event, "sequence_number")] == list(range(len(seen)))
    assert [event.type for event in seen][:2] == ["response.created", "response.in_progress"]
    assert seen[-1].type == "response.completed"
    assert _plain(streamed) == _plain(whole)
    assert streamed.usage == whole.usage
    assert streamed.output_text == whole.output_text


def _plain(response) -> list[dict]:
    dumped = [item.model_dump(exclude_none=True) for item in response.output]
    return [{k: v for k, v in item.items() if k not in ("id", "parsed_arguments")} for item in dumped]


async def test_reasoning_text_and_calls_are_items_of_their_own(toy) -> None:
    async with openai_client(saying(WEATHER)) as ai:
        response = await ai.responses.create(model="fake", input="hello")
    reasoning, message, *calls = response.output
    assert reasoning.type == "reasoning"
    assert reasoning.content[0].text == "think"
    assert message.content[0].text == " hello world "
    assert [(call.call_id, call.name, json.loads(call.arguments)) for call in calls] == [
        ("call_0", "weather", {"a": "rome"}),
        ("call_1", "time", {"a": "now"}),
    ]
    assert 0 < response.usage.output_tokens_details.reasoning_tokens < response.usage.output_tokens
    assert len({item.id for item in response.output}) == 4


async def test_the_events_come_in_openais_order(toy) -> None:
    async with client(llm=stopping_llm(saying("[t]hello{f x}", tokens_per_step=100))) as http:
        answer = await http.post("/v1/responses", json={"input": "hello", "stream": True})
    seen = events(answer.text)
    assert [event["type"].removeprefix("response.") for event in seen] == [
        "created",
        "in_progress",
        *("output_item.added", "content_part.added", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        "output_item.added",
        *["function_call_arguments.delta"] * 3,
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    added = [event for event in seen if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == [0, 1, 2]
    assert [event["item"]["status"] for event in added] == ["in_progress"] * 3
    parts = [event["part"]["text"] for event in seen if event["type"] == "response.content_part.added"]
    assert (parts, added[2]["item"]["arguments"]) == (["", ""], "")


async def test_an_answer_that_was_cut_off_is_incomplete() -> None:
    async with openai_client(FakeEngine()) as ai:
        response = await ai.responses.create(model="fake", input="hello world", max_output_tokens=3)
        events_seen = [
            e
            async for e in await ai.responses.create(
                model="fake", input="hello world", max_output_tokens=3, stream=True
            )
        ]
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[0].status == "incomplete"
    assert events_seen[-1].type == "response.incomplete"
    assert events_seen[-1].response.usage.output_tokens == 3


async def test_logprobs() -> None:
    async with openai_client(saying("hello world", tokens_per_step=2)) as ai:
        response = await ai.responses.create(
            model="fake", input="a", top_logprobs=2, include=["message.output_text.logprobs"]
        )
        seen = [e async for e in await ai.responses.create(model="fake", input="a", top_logprobs=2, stream=True)]
        plain = await ai.responses.create(model="fake", input="a")
    entries = response.output[0].content[0].logprobs
    assert "".join(entry.token for entry in entries if entry.token != "<|endoftext|>") == "hello world"
    assert [len(entry.top_logprobs) for entry in entries] == [2] * len(entries)
    deltas = [entry.token for e in seen if e.type == "response.output_text.delta" for entry in e.logprobs]
    assert deltas == [entry.token for entry in entries][: len(deltas)]
    assert plain.output[0].content[0].logprobs == []


async def test_a_conversation_goes_on_from_a_stored_response(toy) -> None:
    engine = saying(WEATHER)
    async with openai_client(engine) as ai:
        first = await ai.responses.create(model="fake", input="hello", instructions="only once")
        output = {"type": "function_call_output", "call_id": "call_0", "output": "sunny"}
        second = await ai.responses.create(model="fake", input=[output], previous_response_id=first.id)
        assert second.previous_response_id == first.id
        assert "only once" not in prompt_of(engine)
        assert "user\nhello<|im_end|>" in prompt_of(engine)
        assert "assistant\n hello world <|im_end|>" in prompt_of(engine)
        assert "tool\nsunny<|im_end|>" in prompt_of(engine)
        assert (await ai.responses.retrieve(second.id)).output == second.output
        with pytest.raises(openai.BadRequestError, match="cancel"):
            await ai.responses.cancel(second.id)
        await ai.responses.delete(first.id)
        for lost in (
            ai.responses.retrieve(first.id),
            ai.responses.retrieve("resp_unknown"),
            ai.responses.cancel("resp_unknown"),
        ):
            with pytest.raises(openai.NotFoundError):
                await lost
        with pytest.raises(openai.BadRequestError) as caught:
            await ai.responses.create(model="fake", input="hello", previous_response_id=first.id)
        assert caught.value.code == "previous_response_not_found"
        assert caught.value.param == "previous_response_id"


async def test_what_is_not_to_be_stored_is_not() -> None:
    async with openai_client(saying("hello")) as ai:
        kept = await ai.responses.create(model="fake", input="hello", store=False)
        assert kept.model_dump()["store"] is False
        with pytest.raises(openai.NotFoundError):
            await ai.responses.retrieve(kept.id)
    async with openai_client(saying("hello"), ServerOptions(max_stored_responses=0)) as ai:
        kept = await ai.responses.create(model="fake", input="hello")
        with pytest.raises(openai.NotFoundError):
            await ai.responses.retrieve(kept.id)


async def test_another_key_finds_nothing() -> None:
    options = ServerOptions(api_keys=("key", "other"))
    async with openai_client(saying("hello"), options) as ai:
        mine = await ai.responses.create(model="fake", input="hello")
        other = ai.with_options(api_key="other")
        for attempt in (other.responses.retrieve(mine.id), other.responses.cancel(mine.id)):
            with pytest.raises(openai.NotFoundError):
                await attempt
        with pytest.raises(openai.BadRequestError):
            await other.responses.create(model="fake", input="hello", previous_response_id=mine.id)
        assert (await ai.responses.retrieve(mine.id)).id == mine.id


async def test_sampling_extras_are_honoured() -> None:
    engine = saying("hello world")
    async with client(engine) as http:
        body = {"input": "hello", "top_k": 3, "min_p": 0.1, "seed": 5, "stop": "wor", "cache_salt": "s"}
        answer = await http.post("/v1/responses", json=body)
    params = engine.requests[0].params
    assert (params.top_k, params.min_p, params.seed) == (3, 0.1, 5)
    assert answer.json()["output"][0]["content"][0]["text"] == "hello "
    assert engine.requests[0].cache_salt == "s"


async def test_truncation_auto_keeps_the_end() -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        body = {"input": "hello " * 400 + "fox", "truncation": "auto", "max_output_tokens": 5}
        assert (await http.post("/v1/responses", json=body)).status_code == 200
    assert len(engine.requests[0].prompt_token_ids) == 256 - 5
    assert "fox<|im_end|>" in prompt_of(engine)


async def test_a_crash_in_the_middle_ends_with_an_error() -> None:
    engine = saying("hello world", crash_after=2)
    async with client(llm=stopping_llm(engine)) as http:
        answer = await http.post("/v1/responses", json={"input": "hello", "stream": True})
    seen = events(answer.text)
    assert [event["type"] for event in seen[-2:]] == ["response.failed", "error"]
    assert seen[-2]["response"]["status"] == "failed"
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    async with openai_client(saying("hello world", crash_after=2)) as ai:
        with pytest.raises(openai.APIError, match="not running"):
            async for _ in await ai.responses.create(model="fake", input="hello", stream=True):
                pass


async def test_a_client_that_leaves_frees_its_row() -> None:
    for stream in (True, False):
        llm = async_llm(engine := FakeEngine(), delay=0.01)
        exchange = Exchange(build_app(llm), "/v1/responses", {"input": "hello", "stream": stream})
        task = asyncio.create_task(exchange.run())
        await until(engine.has_work)
        exchange.gone.set()
        await until(lambda: not engine.has_work(), 1.0)
        await task
        assert llm.num_in_flight() == 0
        llm.shutdown()
