"""/pause, /resume, /is_paused: for new weights, without losing what clients wait for."""

from __future__ import annotations

import asyncio

import pytest

from server.flags import ServerOptions
from tests.fake_engine import FakeEngine
from tests.server.harness import async_llm, client, events, until

pytestmark = pytest.mark.anyio
OPTIONS = ServerOptions(dev_routes=True)
LONG = {"prompt": "hello world", "max_tokens": 60}


async def test_keep_freezes_and_goes_on() -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS, delay=0.002) as http:
        alone = (await http.post("/v1/completions", json=LONG)).json()["choices"]
        running = asyncio.create_task(http.post("/v1/completions", json=LONG))
        await until(lambda: engine.steps > 65)
        assert (await http.post("/pause?mode=keep")).json() == {"status": "paused"}
        assert (await http.get("/is_paused")).json() == {"is_paused": True}
        new = asyncio.create_task(http.post("/v1/completions", json=LONG))
        steps = engine.steps
        await asyncio.sleep(0.05)
        assert (engine.steps, running.done(), new.done()) == (steps, False, False)
        assert len(engine.requests) == 2  # the new one has not come to the engine
        assert (await http.post("/resume")).json() == {"status": "resumed"}
        assert [(await task).json()["choices"] for task in (running, new)] == [alone, alone]
        assert (await http.get("/is_paused")).json() == {"is_paused": False}
    assert ("reset_prefix_cache",) not in engine.calls


@pytest.mark.parametrize("stream", [False, True])
async def test_abort_ends_them_with_what_they_have(stream: bool) -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS, delay=0.005) as http:
        running = asyncio.create_task(http.post("/v1/completions", json={**LONG, "stream": stream}))
        await until(lambda: engine.steps > 5)
        assert (await http.post("/pause")).status_code == 200
        answer = await running
        assert answer.status_code == 200
        last = events(answer.text)[-1] if stream else answer.json()
        choice = last["choices"][0]
        assert (choice["finish_reason"], choice["stop_reason"]) == ("abort", "paused")
        assert stream or choice["text"].startswith("hello world")
        assert engine.calls == [("reset_prefix_cache",)]
        assert not engine.has_work()
        await http.post("/resume")
        assert (await http.post("/v1/completions", json=LONG)).status_code == 200


async def test_wait_lets_them_end_and_new_ones_wait() -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS, delay=0.002) as http:
        running = asyncio.create_task(http.post("/v1/completions", json=LONG))
        await until(lambda: engine.steps > 2)
        pausing = asyncio.create_task(http.post("/pause?mode=wait&clear_cache=false"))
        await until(lambda: engine.steps > 4)
        new = asyncio.create_task(http.post("/v1/completions", json=LONG))
        assert (await pausing).status_code == 200
        assert (await running).json()["usage"]["completion_tokens"] == 60
        assert (len(engine.requests), new.done(), engine.calls) == (1, False, [])
        await http.post("/resume")
        assert (await new).status_code == 200


async def test_waiting_during_another_pause_ends() -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS, delay=0.002) as http:
        running = asyncio.create_task(http.post("/v1/completions", json=LONG))
        await until(lambda: engine.steps > 2)
        await http.post("/pause?mode=keep")
        assert (await asyncio.wait_for(http.post("/pause?wait_for_inflight_requests=true"), 10)).status_code == 200
        assert (await running).status_code == 200


async def test_who_leaves_while_he_waits_never_comes_to_the_engine() -> None:
    engine = FakeEngine()
    llm = async_llm(engine)
    await llm.pause_generation("keep")
    stream = llm.submit([await llm.prepare("hello")])
    stays = llm.submit([await llm.prepare("world")])
    stream.close()
    await llm.resume_generation()
    await stays.take()
    assert len(engine.requests) == 1
    llm.shutdown()


async def test_a_pause_is_no_standstill() -> None:
    llm = async_llm(FakeEngine(), delay=0.001)
    llm.step_timeout = 0.05
    stream = llm.submit([await llm.prepare("hello")])
    await stream.take()
    await llm.pause_generation("keep")
    await asyncio.sleep(0.1)
    llm.check_health()
    await llm.resume_generation()
    llm.check_health()
    stream.close()
    llm.shutdown()


@pytest.mark.parametrize(("mode", "status"), [("abort", 200), ("wait", 200)])
async def test_sleep_ends_requests_or_waits_for_them(mode: str, status: int) -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS, delay=0.002) as http:
        running = asyncio.create_task(http.post("/v1/completions", json=LONG))
        await until(lambda: engine.steps > 2)
        assert (await http.post(f"/sleep?level=1&mode={mode}")).status_code == status
        assert (await running).json()["choices"][0]["finish_reason"] == {"abort": "abort", "wait": "length"}[mode]
        assert (await http.get("/is_sleeping")).json() == {"is_sleeping": True}
        await http.post("/wake_up")
        assert (await http.post("/v1/completions", json=LONG)).status_code == 200


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/pause?mode=now", "mode"),
        ("/pause?mode=", "mode"),
        ("/pause?clear_cache=perhaps", "clear_cache"),
        ("/sleep?mode=keep", "mode"),
    ],
)
async def test_a_mistake_is_400_and_pauses_nothing(path: str, param: str) -> None:
    async with client(None, OPTIONS) as http:
        answer = await http.post(path)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert (await http.get("/is_paused")).json() == {"is_paused": False}


async def test_who_leaves_while_sleep_waits_leaves_no_pause() -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS, delay=0.005) as http:
        running = asyncio.create_task(http.post("/v1/completions", json=LONG))
        await until(lambda: engine.steps > 2)
        late = await http.post("/sleep?mode=wait", headers={"X-Request-Timeout": "0.02"})
        assert late.status_code == 504
        assert (await http.get("/is_paused")).json() == {"is_paused": False}
        assert (await running).status_code == 200
        assert (await http.post("/v1/completions", json={"prompt": "hello", "max_tokens": 2})).status_code == 200
