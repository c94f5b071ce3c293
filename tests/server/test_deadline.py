"""A request that takes too long ends with 504 or an error event, and the engine forgets it."""

from __future__ import annotations

import asyncio

import pytest

from server.flags import ServerOptions
from tests.fake_engine import FakeEngine
from tests.server.harness import async_llm, client, events, until

pytestmark = pytest.mark.anyio
LONG = {"prompt": "hello world", "max_tokens": 200}
CHAT = {"messages": [{"role": "user", "content": "hello world"}], "max_tokens": 200}
QUICK = ServerOptions(request_timeout=0.15)


@pytest.mark.parametrize(("path", "body"), [("/v1/completions", LONG), ("/v1/chat/completions", CHAT)])
async def test_a_body_that_is_late_is_504(path: str, body: dict) -> None:
    engine = FakeEngine()
    async with client(engine, QUICK, delay=0.01) as http:
        response = await http.post(path, json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert response.json()["error"]["type"] == "timeout_error"
        assert response.headers["x-should-retry"] == "false"
        await until(lambda: not engine.has_work())
        assert len(engine.aborted) == 1
        assert (await http.post(path, json={**body, "max_tokens": 2})).status_code == 200


async def test_a_stream_that_is_late_ends_with_an_error_and_no_end_mark() -> None:
    engine = FakeEngine()
    async with client(engine, QUICK, delay=0.01) as http:
        response = await http.post("/v1/completions", json={**LONG, "stream": True})
        assert response.status_code == 200
        assert "[DONE]" not in response.text
        assert events(response.text)[-1]["error"]["code"] == "deadline_exceeded"
        assert len(events(response.text)) > 2
        await until(lambda: not engine.has_work())
        assert len(engine.aborted) == 1


async def test_the_wait_in_the_queue_counts() -> None:
    engine = FakeEngine(max_num_seqs=1)
    llm = async_llm(engine, delay=0.01, max_num_seqs=1)
    async with client(llm=llm) as http:
        first = asyncio.create_task(http.post("/v1/completions", json=LONG))
        await until(lambda: engine.steps > 2)
        headers = {"X-Request-Timeout": "0.1"}
        response = await http.post("/v1/completions", json={**LONG, "max_tokens": 1}, headers=headers)
        assert response.status_code == 504
        assert (await first).status_code == 200


async def test_a_hundred_deadlines_leave_nothing_behind() -> None:
    engine = FakeEngine()
    llm = async_llm(engine, delay=0.005)
    async with client(llm=llm) as http:
        headers = {"X-Request-Timeout": "0.01"}
        posts = (http.post("/v1/completions", json={**LONG, "stream": i % 2 == 0}, headers=headers) for i in range(100))
        answers = await asyncio.gather(*posts)
        assert all("deadline_exceeded" in answer.text for answer in answers)
        await until(lambda: not engine.has_work())
        assert {request.request_id for request in engine.requests} <= set(engine.aborted)
        assert llm.num_in_flight() == llm._requests.num_sequences == 0


async def test_the_client_may_shorten_the_limit_but_not_lengthen_it() -> None:
    async with client(FakeEngine(), QUICK, delay=0.01) as http:
        response = await http.post("/v1/completions", json=LONG, headers={"X-Request-Timeout": "30"})
        assert "0.15 seconds" in response.json()["error"]["message"]
        response = await http.post("/v1/completions", json=LONG, headers={"X-Request-Timeout": "0.05"})
        assert "0.05 seconds" in response.json()["error"]["message"]


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", ""])
async def test_a_strange_limit_is_400(value: str) -> None:
    async with client() as http:
        response = await http.post("/v1/completions", json=LONG, headers={"X-Request-Timeout": value})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "X-Request-Timeout")
