"""F18: the wall clock jumps while streams run. Nothing expires, no id comes twice, texts stay the same."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from server.app import build_app
from tests.fake_engine import FakeEngine
from tests.server.asgi import call
from tests.server.harness import async_llm, until

pytestmark = pytest.mark.anyio
HEADERS = [(b"content-type", b"application/json")]
BODY = json.dumps({"prompt": "hello world", "max_tokens": 60, "stream": True}).encode()


@pytest.mark.parametrize("jump", [3600.0, -3600.0, -1.8e9])
async def test_a_jump_of_the_wall_clock(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    llm = async_llm(engine, delay=0.001)
    llm.step_timeout = 5
    app = build_app(llm)
    streams = [asyncio.create_task(call(app, "POST", "/v1/completions", HEADERS, [BODY])) for _ in range(20)]
    await until(lambda: engine.steps > 5)
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + jump)
    later = [asyncio.create_task(call(app, "POST", "/v1/completions", HEADERS, [BODY])) for _ in range(20)]
    answers = await asyncio.gather(*streams, *later)
    assert all(answer.content.endswith(b"data: [DONE]\n\n") for answer in answers)
    first = [json.loads(answer.content.decode().split("\n\n")[0].removeprefix("data: ")) for answer in answers]
    assert len({event["id"] for event in first}) == 40
    assert {event["choices"][0]["text"] for event in first} == {first[0]["choices"][0]["text"]}
    assert (await call(app, "GET", "/health")).status == 200
    llm.shutdown()
