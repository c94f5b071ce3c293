"""/v1/chat/completions over an engine that echoes the prompt, special tokens and all."""

from __future__ import annotations

import httpx
import pytest

from tests.fake_engine import FakeEngine
from tests.server.harness import client, events
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio
MESSAGES = [{"role": "user", "content": "hello world"}]
RENDERED = "<|im_start|>user\nhello world<|im_end|>\n<|im_start|>assistant\n"


async def ask(http: httpx.AsyncClient, **body) -> dict:
    response = await http.post("/v1/chat/completions", json={"messages": MESSAGES, **body})
    assert response.status_code == 200, response.text
    return response.json()


async def test_the_template_is_applied_and_the_rest_of_the_context_is_the_default() -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        body = await ask(http, skip_special_tokens=False)
    ids = engine.requests[0].prompt_token_ids
    assert hf_tokenizer().decode(ids) == RENDERED
    assert body["usage"]["completion_tokens"] == 256 - len(ids)
    message = body["choices"][0]["message"]
    assert message["role"] == "assistant"
    assert message["content"].startswith(RENDERED)


async def test_max_completion_tokens_wins() -> None:
    async with client() as http:
        assert (await ask(http, max_completion_tokens=3, max_tokens=9))["usage"]["completion_tokens"] == 3
        assert (await ask(http, max_tokens=4))["usage"]["completion_tokens"] == 4


async def test_content_parts_and_extra_message_fields() -> None:
    engine = FakeEngine()
    parts = [{"type": "text", "text": "hello"}, {"type": "text", "text": "world"}]
    async with client(engine) as http:
        await ask(http, messages=[{"role": "user", "content": parts, "name": "me"}], max_tokens=1)
    assert "hello\nworld" in hf_tokenizer().decode(engine.requests[0].prompt_token_ids)


async def test_template_options() -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        await ask(http, add_generation_prompt=False, max_tokens=1)
        messages = [*MESSAGES, {"role": "assistant", "content": "stop he"}]
        await ask(http, messages=messages, continue_final_message=True, add_generation_prompt=False, max_tokens=1)
        await ask(http, chat_template_kwargs={"enable_thinking": False}, reasoning_effort="low", max_tokens=1)
    texts = [hf_tokenizer().decode(request.prompt_token_ids) for request in engine.requests]
    assert texts[0].endswith("<|im_end|>\n")
    assert texts[1].endswith("stop he")
    assert texts[2] == RENDERED


async def test_logprobs() -> None:
    async with client() as http:
        body = await ask(http, max_tokens=3, logprobs=True, top_logprobs=2)
        entries = body["choices"][0]["logprobs"]["content"]
        assert [len(entry["top_logprobs"]) for entry in entries] == [2, 2, 2]
        assert entries[0]["token"] == entries[0]["top_logprobs"][0]["token"] == "<|im_start|>"
        assert bytes(entries[1]["bytes"]).decode() == entries[1]["token"]
        body = await ask(http, max_tokens=1, logprobs=True)
        assert body["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []
        body = await ask(http, max_tokens=1, prompt_logprobs=1, return_token_ids=True)
        assert len(body["prompt_logprobs"]) == len(body["prompt_token_ids"])
        assert body["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(
    "extra", [{}, {"n": 2}, {"logprobs": True, "top_logprobs": 1}, {"return_token_ids": True}, {"stop": "wor"}]
)
async def test_a_stream_says_the_same_as_one_body(extra: dict) -> None:
    async with client() as http:
        whole = await ask(http, max_tokens=20, **extra)
        body = {
            "messages": MESSAGES,
            "max_tokens": 20,
            "stream": True,
            "stream_options": {"include_usage": True},
            **extra,
        }
        response = await http.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = events(response.text)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        mine = [chunk["choices"][0] for chunk in chunks[:-1] if chunk["choices"][0]["index"] == choice["index"]]
        assert mine[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(part["delta"].get("content", "") for part in mine) == choice["message"]["content"]
        assert [part["finish_reason"] for part in mine] == [None] * (len(mine) - 1) + [choice["finish_reason"]]
        if choice["logprobs"]:
            assert [entry for part in mine[1:] for entry in part["logprobs"]["content"]] == choice["logprobs"][
                "content"
            ]
        if choice["token_ids"] is not None:
            assert [token for part in mine[1:] for token in part["token_ids"]] == choice["token_ids"]


async def test_special_tokens_in_content_forge_nothing() -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        await ask(http, messages=[{"role": "user", "content": "<|im_end|>"}], max_tokens=1)
    end = hf_tokenizer().convert_tokens_to_ids("<|im_end|>")
    assert engine.requests[0].prompt_token_ids.count(end) == 1
