"""/v1/messages, as anthropic-python meets it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anthropic
import httpx
import httpx2
import pytest

from server.app import build_app
from server.errors import ERROR_EVENT
from server.flags import ServerOptions
from server.openai.chat import PreparedChat
from tests.fake_engine import FakeEngine
from tests.server.harness import Exchange, async_llm, client, until
from tests.server.scripted import ToyParser, prompt_of, saying, stopping_llm

pytestmark = pytest.mark.anyio
HELLO = [{"role": "user", "content": "hello world"}]
WEATHER = "[think] hello world {weather rome}{time now}"


@asynccontextmanager
async def claude(engine: FakeEngine, options: ServerOptions | None = None) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """anthropic-python, strictly validating, in front of the application in this process."""
    llm = stopping_llm(engine)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(build_app(llm, options))) as http:
        yield anthropic.AsyncAnthropic(
            base_url="http://test", api_key="key", max_retries=0, http_client=http, _strict_response_validation=True
        )
    llm.shutdown()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PreparedChat, "parser", lambda self: ToyParser())


async def test_a_message_under_strict_validation() -> None:
    engine = saying("hello world")
    engine.cached_tokens = 5
    async with claude(engine) as ai:
        message = await ai.messages.create(
            model="fake",
            max_tokens=9,
            messages=HELLO,
            system=[{"type": "text", "text": "the fox", "cache_control": {"type": "ephemeral"}}],
            metadata={"user_id": "me"},
            service_tier="auto",
            thinking={"type": "enabled", "budget_tokens": 1024},
            extra_body={"temperature": 0.5, "top_k": 4},
        )
        count = await ai.messages.count_tokens(
            model="fake", messages=HELLO, system="the fox", thinking={"type": "disabled"}
        )
    assert message.content[0].text == "hello world"
    assert (message.role, message.stop_reason, message.stop_sequence) == ("assistant", "end_turn", None)
    assert prompt_of(engine).startswith("<|im_start|>system\nthe fox<|im_end|>\n<|im_start|>user\nhello world")
    prompt = len(engine.requests[0].prompt_token_ids)
    usage, written = message.usage, prompt // 16 * 16 - 5  # of full pages
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (5, written)
    assert usage.input_tokens == prompt - 5 - written
    assert message.usage.output_tokens == 3
    assert count.input_tokens == prompt
    assert (engine.requests[0].params.temperature, engine.requests[0].params.top_k) == (0.5, 4)
    assert message._request_id


@pytest.mark.parametrize("tokens_per_step", [1, 3, 100])
@pytest.mark.parametrize("text", ["hello world", WEATHER, "[only thought]", "{call now}", "", "a [b] c"])
async def test_a_stream_says_the_same_as_one_body(toy, text: str, tokens_per_step: int) -> None:
    async with claude(saying(text, tokens_per_step=tokens_per_step)) as ai:
        whole = await ai.messages.create(model="fake", max_tokens=99, messages=HELLO)
        async with ai.messages.stream(model="fake", max_tokens=99, messages=HELLO) as stream:
            streamed = await stream.get_final_message()
    for message in (whole, streamed):
        message.id = "same"
    assert streamed.to_dict() == whole.to_dict()


async def test_thinking_text_and_tools_are_blocks_of_their_own(toy) -> None:
    async with claude(saying(WEATHER)) as ai:
        message = await ai.messages.create(model="fake", max_tokens=99, messages=HELLO)
        quiet = await ai.messages.create(
            model="fake", max_tokens=99, messages=HELLO, thinking={"type": "adaptive", "display": "omitted"}
        )
    thinking, text, *calls = message.content
    assert (thinking.thinking, thinking.signature) == ("think", "")
    assert text.text == " hello world "
    assert [(call.id, call.name, call.input) for call in calls] == [
        ("call_0", "weather", {"a": "rome"}),
        ("call_1", "time", {"a": "now"}),
    ]
    assert message.stop_reason == "tool_use"
    assert 0 < message.usage.output_tokens_details.thinking_tokens < message.usage.output_tokens
    assert quiet.content[0].thinking == ""
    assert quiet.content[1:] == message.content[1:]


async def test_the_events_come_in_anthropics_order(toy) -> None:
    body = {"messages": HELLO, "max_tokens": 99, "stream": True}
    async with client(llm=stopping_llm(saying("[t]hello{f x}", tokens_per_step=100))) as http:
        answer = await http.post("/v1/messages", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.partition("\ndata: ") for block in answer.text.split("\n\n")[:-1]]
    seen = [json.loads(data) for _, _, data in blocks]
    assert [name for name, _, _ in blocks] == [f"event: {event['type']}" for event in seen]
    assert [event["type"].removeprefix("content_block_") for event in seen] == [
        "message_start",
        *("start", "delta", "delta", "stop"),
        *("start", "delta", "stop"),
        *("start", "delta", "delta", "delta", "stop"),
        "message_delta",
        "message_stop",
    ]
    assert [e["content_block"] for e in seen if e["type"] == "content_block_start"][2] == {
        "type": "tool_use",
        "id": "call_0",
        "name": "f",
        "input": {},
    }


@pytest.mark.parametrize(
    ("body", "reason", "sequence"),
    [
        ({"max_tokens": 2}, "max_tokens", None),
        ({"max_tokens": 9, "stop_sequences": ["wor"]}, "stop_sequence", "wor"),
        ({"max_tokens": 9}, "end_turn", None),
    ],
)
async def test_stop_reasons(body: dict, reason: str, sequence: str | None) -> None:
    async with claude(saying("hello world")) as ai:
        message = await ai.messages.create(model="fake", messages=HELLO, **body)
    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)


async def test_an_answer_goes_on_where_the_assistant_has_begun() -> None:
    engine = saying(" world")
    async with claude(engine) as ai:
        prefill = {"role": "assistant", "content": [{"type": "text", "text": "stop he"}]}
        await ai.messages.create(model="fake", max_tokens=9, messages=[*HELLO, prefill])
    assert prompt_of(engine).endswith("assistant\nstop he")


def block(kind: str, **fields) -> dict:
    return {"messages": [{"role": "user", "content": [{"type": kind, **fields}]}]}


REFUSED = [
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "9"}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
    ({"messages": HELLO * 100_000}, "messages"),
    (block("image", source={"type": "url", "url": "http://169.254.169.254/"}), "image"),
    (block("document"), "document"),
    (block("text"), "needs text"),
    (block("text", text=3), "messages.0.content.0.text: "),
    (block("tool_result"), "tool_use_id"),
    (block("tool_result", tool_use_id="1", content=[{"type": "image"}]), "image"),
    (block("thinking", thinking="a"), "thinking"),
    ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "1"}]}]}, "name"),
    ({"system": 3}, "system"),
    ({"system": [{"type": "image"}]}, "system"),
    ({"stop_sequences": ["a"] * 5}, "stop_sequences"),
    ({"stop_sequences": [""]}, "stop_sequences"),
    ({"stop": "a"}, "stop is called stop_sequences"),
    ({"response_format": {"type": "json_object"}}, "output_config.format"),
    ({"temperature": 2.5}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"n": 2}, "n is"),
    (
        {
            "tools": [{"type": "bash_20250124", "name": "bash"}, {"name": "f", "input_schema": {}}],
            "tool_choice": {"type": "tool", "name": "bash"},
        },
        "bash",
    ),
    ({"tools": [{"type": "function", "name": "f", "input_schema": {}}]}, "'function'"),
    ({"tools": [{"input_schema": {}}]}, "needs a name"),
    ({"tools": [{"name": "f"}]}, "input_schema"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice"),
    ({"tool_choice": {"type": "some"}}, "tool_choice"),
    ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "budget_tokens"),
    ({"thinking": True}, "thinking"),
    ({"output_config": {"effort": "huge"}}, "effort"),
    ({"container": "x"}, "container"),
    ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
    ({"messages": [{"role": "user", "content": "hello " * 10_000}]}, "messages: The prompt is too long"),
    ({"model": "claude"}, "claude"),
]


@pytest.mark.parametrize(("change", "word"), REFUSED)
async def test_refusals_name_the_field(change: dict, word: str) -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        answer = await http.post("/v1/messages", json={"messages": HELLO, "max_tokens": 2, **change})
    kind = "not_found_error" if "model" in change else "invalid_request_error"
    assert_error(answer, 404 if "model" in change else 400, kind, word)
    assert not engine.requests


def assert_error(answer: httpx.Response, status: int, kind: str, word: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"type", "error"}
    assert answer.json()["type"] == "error"
    assert set(answer.json()["error"]) == {"type", "message"}
    assert answer.json()["error"]["type"] == kind
    assert word in answer.json()["error"]["message"]
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["request-id"] == answer.headers["x-request-id"]


async def test_every_error_on_these_routes_has_anthropics_envelope() -> None:
    options = ServerOptions(api_keys=("key",), max_body_bytes=5000)
    good = {"x-api-key": "key", "content-type": "application/json"}
    async with client(options=options) as http:
        assert_error(await http.post("/v1/messages", json={}), 401, "authentication_error", "key")
        assert_error(await http.get("/v1/messages", headers=good), 405, "invalid_request_error")
        assert_error(await http.post("/v1/messages/batches", headers=good), 404, "not_found_error")
        assert_error(await http.post("/v1/messages", content=b"{", headers=good), 400, "invalid_request_error", "JSON")
        assert_error(await http.post("/v1/messages", content=b" " * 6000, headers=good), 413, "request_too_large")
        text = {**good, "content-type": "text/plain"}
        assert_error(
            await http.post("/v1/messages/count_tokens", content=b"a", headers=text), 415, "invalid_request_error"
        )
        openai = await http.get("/v1/messagesx", headers=good)
        assert set(openai.json()) == {"error"}


async def test_a_full_queue_is_overload() -> None:
    llm = async_llm(max_num_seqs=1, max_queued_requests=0, max_num_batched_tokens=64)
    llm._requests.capacity = 0
    async with client(llm=llm) as http:
        answer = await http.post("/v1/messages", json={"messages": HELLO, "max_tokens": 2})
        assert_error(answer, 503, "overloaded_error")
        assert "retry-after" in answer.headers


async def test_a_crash_in_the_middle_ends_with_an_error_event() -> None:
    async with claude(saying("hello world", crash_after=2)) as ai:
        with pytest.raises(anthropic.APIStatusError, match="not running"):
            async with ai.messages.stream(model="fake", max_tokens=9, messages=HELLO) as stream:
                await stream.get_final_message()


async def test_a_client_that_leaves_frees_its_row() -> None:
    for stream in (True, False):
        llm = async_llm(engine := FakeEngine(), delay=0.01)
        body = {"messages": HELLO, "max_tokens": 200, "stream": stream}
        exchange = Exchange(build_app(llm), "/v1/messages", body)
        task = asyncio.create_task(exchange.run())
        await until(engine.has_work)
        exchange.gone.set()
        await until(lambda: not engine.has_work(), 1.0)
        await task
        assert llm.num_in_flight() == 0
        llm.shutdown()


async def test_middleware_finds_the_form_of_an_error_in_a_stream() -> None:
    llm, seen = async_llm(), []
    app = build_app(llm)

    async def middleware(scope, receive, send) -> None:
        await app(scope, receive, send)
        seen.append(scope[ERROR_EVENT](RuntimeError()))

    body = {"messages": HELLO, "max_tokens": 2, "stream": True}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(middleware), base_url="http://test") as http:
        for path in ("/v1/messages", "/v1/chat/completions"):
            await http.post(path, json=body)
    assert seen[0].startswith(b'event: error\ndata: {"type":"error",')
    assert seen[1].startswith(b'data: {"error":')
    llm.shutdown()
