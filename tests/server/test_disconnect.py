"""A client that goes away, a queue that is full, an engine that fails: who is told what, and what stays behind."""

from __future__ import annotations

import asyncio

import pytest

from jaxpaged.errors import QueueFullError, RequestError
from server.app import build_app
from server.flags import ServerOptions
from tests.fake_engine import FakeEngine
from tests.server.harness import Exchange, async_llm, client, events, until

pytestmark = pytest.mark.anyio
LONG = {"prompt": "hello world", "max_tokens": 200}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 3])
async def test_a_disconnect_frees_the_rows_at_once(stream: bool, n: int) -> None:
    engine = FakeEngine()
    llm = async_llm(engine, delay=0.005)
    exchange = Exchange(build_app(llm), "/v1/completions", {**LONG, "stream": stream, "n": n})
    task = asyncio.create_task(exchange.run())
    await until(lambda: engine.steps > 5)
    exchange.gone.set()
    await until(lambda: not engine.has_work())
    assert engine.steps < LONG["max_tokens"]
    assert len(engine.aborted) == n
    assert llm.num_in_flight() == 0
    await task
    llm.shutdown()


async def test_a_disconnect_before_the_first_token() -> None:
    engine = FakeEngine()
    llm = async_llm(engine, delay=30)
    for stream in (False, True):
        exchange = Exchange(build_app(llm), "/v1/completions", {**LONG, "stream": stream})
        task = asyncio.create_task(exchange.run())
        await until(engine.has_work)
        exchange.gone.set()
        await until(lambda: not engine.has_work())
        await asyncio.wait_for(task, 20)
        assert llm.num_in_flight() == 0
    llm.shutdown()


async def test_mates_do_not_notice() -> None:
    engine = FakeEngine()
    llm = async_llm(engine, delay=0.001)
    app = build_app(llm)
    gone = [Exchange(app, "/v1/completions", {**LONG, "stream": index % 2 == 0}) for index in range(20)]
    stays = [Exchange(app, "/v1/completions", {**LONG, "stream": True}) for _ in range(5)]
    tasks = [asyncio.create_task(exchange.run()) for exchange in [*gone, *stays]]
    for index, exchange in enumerate(gone):
        await until(lambda index=index: engine.steps > 2 * index)
        exchange.gone.set()
    await asyncio.gather(*tasks)
    texts = ["".join(chunk["choices"][0]["text"] for chunk in events(exchange.text)) for exchange in stays]
    assert len(texts[0]) > 500
    assert len(set(texts)) == 1
    assert not engine.has_work()
    assert llm.num_in_flight() == 0
    llm.shutdown()


async def test_a_full_queue_is_503_with_retry_after() -> None:
    engine = FakeEngine(max_num_seqs=1, max_queued=1)
    llm = async_llm(engine, delay=0.01, max_num_seqs=1, max_queued_requests=1)
    async with client(llm=llm) as http:
        waiting = [asyncio.create_task(http.post("/v1/completions", json=LONG)) for _ in range(2)]
        await until(lambda: llm.num_in_flight() == 2)
        for stream in (False, True):
            response = await http.post("/v1/completions", json={**LONG, "stream": stream})
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert response.json()["error"]["code"] == "queue_full"
        assert [(await task).status_code for task in waiting] == [200, 200]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_engine_refuses_is_an_ordinary_error(stream: bool) -> None:
    class Refuses(FakeEngine):
        def add(self, request) -> None:
            if request.children:
                raise RequestError("Not this one.", "prompt")
            if request.params.max_tokens == 7:
                raise QueueFullError("Full.")
            super().add(request)

    engine = Refuses()
    async with client(engine) as http:
        response = await http.post("/v1/completions", json={**LONG, "n": 2, "stream": stream})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "prompt")
        response = await http.post("/v1/completions", json={**LONG, "max_tokens": 7, "stream": stream})
        assert response.status_code == 503
        assert (await http.post("/v1/completions", json={**LONG, "max_tokens": 3})).status_code == 200
    assert not engine.has_work()


async def test_a_request_that_fails_on_the_way_gets_500_and_mates_go_on() -> None:
    class Fails(FakeEngine):
        def step(self) -> list:
            outputs = super().step()
            for output in outputs:
                if self._rows.get(output.request_id) and self._rows[output.request_id].request.params.seed == 666:
                    output.finish_reason, output.error = "error", "values that are not finite"
                    del self._rows[output.request_id]
            return outputs

    async with client(Fails(), delay=0.001) as http:
        good, bad = await asyncio.gather(
            http.post("/v1/completions", json={**LONG, "max_tokens": 20}),
            http.post("/v1/completions", json={**LONG, "seed": 666}),
        )
        assert (good.status_code, bad.status_code) == (200, 500)
        assert "not finite" in bad.json()["error"]["message"]
        assert bad.headers["x-should-retry"] == "false"


async def test_an_engine_that_dies_ends_streams_with_an_error_and_no_end_mark() -> None:
    async with client(FakeEngine(crash_after=10)) as http:
        response = await http.post("/v1/completions", json={**LONG, "stream": True})
    assert response.status_code == 200
    assert "[DONE]" not in response.text
    assert events(response.text)[-1]["error"]["code"] == "engine_dead"
    assert all(event["choices"][0]["finish_reason"] is None for event in events(response.text)[:-1])


async def test_a_shutdown_ends_streams_with_an_error_and_refuses_new_requests() -> None:
    llm = async_llm(delay=0.005)
    exchange = Exchange(build_app(llm), "/v1/completions", {**LONG, "stream": True})
    task = asyncio.create_task(exchange.run())
    await until(lambda: len(exchange.sent) > 3)
    llm.stop_accepting()
    llm.abort_all()
    await task
    assert events(exchange.text)[-1]["error"]["code"] == "shutting_down"
    assert "[DONE]" not in exchange.text
    async with client(llm=llm) as http:
        refused = await http.post("/v1/completions", json=LONG)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert "retry-after" in refused.headers
        assert (await http.get("/ready")).json()["error"]["code"] == "shutting_down"
        assert (await http.get("/health")).status_code == 200


async def test_a_bug_of_ours_shows_nothing_of_the_inside(monkeypatch, caplog) -> None:
    llm = async_llm()
    monkeypatch.setattr(llm, "submit", lambda batch: 1 / 0)
    async with client(llm=llm) as http:
        response = await http.post("/v1/completions", json=LONG)
    assert response.status_code == 500
    assert "zero" not in response.text
    assert "ZeroDivisionError" in caplog.text
    assert response.headers["x-request-id"]


CHAT = {"messages": [{"role": "user", "content": "hello world"}], "max_tokens": 100}
DIALECTS = {
    "/v1/completions": LONG,
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"input": "hello world", "max_output_tokens": 100},
    "/v1/messages": CHAT,
    "/inference/v1/generate": {"token_ids": [5, 6], "sampling_params": {"max_tokens": 100}},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", DIALECTS)
async def test_a_client_that_leaves_is_a_quiet_line(path: str, stream: bool, caplog) -> None:
    """No traceback, no 500 and, for a stored response, no answer that looks whole."""
    engine, records = FakeEngine(), []
    llm = async_llm(engine, delay=0.005)
    app = build_app(llm, ServerOptions(record_sinks=(records.append,)))
    exchange = Exchange(app, path, {**DIALECTS[path], "stream": stream})
    task = asyncio.create_task(exchange.run())
    await until(lambda: engine.steps > 3)
    exchange.gone.set()
    await asyncio.wait_for(task, 20)
    assert [record.status for record in records] == [200 if stream else 499]
    assert not [entry for entry in caplog.records if entry.levelname in ("WARNING", "ERROR")]
    assert "Internal" not in exchange.text
    assert not any(mark in exchange.text for mark in ("[DONE]", "message_stop", "response.completed"))
    llm.shutdown()
