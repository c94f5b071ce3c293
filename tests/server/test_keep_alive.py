"""Comments keep a silent stream open: before its first event and between events."""

from __future__ import annotations

import asyncio

import pytest

import server.answers.streaming
from server.app import build_app
from tests.server.harness import Exchange, async_llm, events, until

pytestmark = pytest.mark.anyio
BODY = {"prompt": "hello world", "max_tokens": 3, "stream": True}


async def test_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.answers.streaming, "KEEP_ALIVE_SECONDS", 0.04)
    llm = async_llm(delay=0.2)
    exchange = Exchange(build_app(llm), "/v1/completions", BODY)
    await exchange.run()
    comment = ": keep-alive\n\n"
    before, _, after = exchange.text.partition("data: ")
    assert before.count(comment) >= 2
    assert after.count(comment) >= 2
    assert exchange.text.endswith("data: [DONE]\n\n")
    assert [event["choices"][0]["text"] for event in events(exchange.text.replace(comment, ""))] == [
        "hello",
        " world",
        "hello",
    ]
    llm.shutdown()


async def test_a_busy_stream_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.answers.streaming, "KEEP_ALIVE_SECONDS", 0.1)
    llm = async_llm(delay=0.002)
    exchange = Exchange(build_app(llm), "/v1/completions", {**BODY, "max_tokens": 200})
    await exchange.run()
    assert "keep-alive" not in exchange.text
    llm.shutdown()


async def test_no_task_is_left_behind_by_a_client_that_leaves() -> None:
    llm = async_llm(delay=0.01)
    exchange = Exchange(build_app(llm), "/v1/completions", {**BODY, "max_tokens": 200})
    before = len(asyncio.all_tasks())
    task = asyncio.create_task(exchange.run())
    await until(lambda: len(exchange.sent) > 3)
    exchange.gone.set()
    await task
    await until(lambda: len(asyncio.all_tasks()) <= before + 1)  # the one that receives from the engine stays
    assert llm.num_in_flight() == 0
    llm.shutdown()
