"""/abort_requests ends requests by what their clients call them; others do not notice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.flags import ServerOptions
from tests.fake_engine import FakeEngine
from tests.server.harness import client, events, until

pytestmark = pytest.mark.anyio
OPTIONS = ServerOptions(dev_routes=True)
MESSAGES = [{"role": "user", "content": "hello world"}]
COMPLETION = {"prompt": "hello world", "max_tokens": 100}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {**COMPLETION, "n": 2},
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 100},
    "/v1/chat/completions/batch": {"messages": [MESSAGES, MESSAGES], "max_tokens": 100},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 100},
    "/v1/responses": {"input": "hello world", "max_output_tokens": 100},
    "/inference/v1/generate": {"token_ids": [5, 6], "sampling_params": {"max_tokens": 100}},
}
SAID: dict[str, tuple[dict, set]] = {
    "/v1/messages": ({"stop_reason": "pause_turn"}, set()),
    "/v1/responses": ({"status": "incomplete"}, set()),
}


def running(http, path: str = "/v1/completions", body: dict | None = None, name: str = "mine") -> asyncio.Task:
    return asyncio.create_task(http.post(path, json=body or COMPLETION, headers={"X-Request-Id": name}))


@pytest.mark.parametrize("path", BODIES)
async def test_every_dialect_ends_with_what_it_has(path: str) -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS, delay=0.002) as http:
        ends, stays = running(http, path, BODIES[path]), running(http, name="other")
        await until(lambda: engine.steps > 3)
        answer = (await http.post("/abort_requests", json={"request_ids": ["mine"]})).json()
        assert answer == {"status": "aborted", "aborted": 2 if path.endswith("batch") else 1}
        ended = await ends
        assert ended.status_code == 200
        said = {name: value for name, value in ended.json().items() if name in ("status", "stop_reason")}
        choices = {choice["finish_reason"] for choice in ended.json().get("choices", [])}
        assert (said, choices) == SAID.get(path, ({}, {"abort"}))
        assert (await stays).json()["choices"][0]["finish_reason"] == "length"


async def test_a_stream_is_ended_by_the_id_in_its_events() -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS, delay=0.002) as http:
        body = {**COMPLETION, "stream": True, "prompt": ["hello world", "hello"]}
        task = running(http, body=body, name="a")
        await until(lambda: engine.steps > 3)
        # vLLM's ids of its prompts
        assert (await http.post("/abort_requests", json={"request_ids": ["cmpl-a-1"]})).json()["aborted"] == 1
        assert (await http.post("/abort_requests", json={"request_ids": ["cmpl-a", "a"]})).json()["aborted"] == 1
        chunks = events((await task).text)
    ends = [choice for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert [(end["index"], end["finish_reason"], end["stop_reason"]) for end in ends] == [
        (1, "abort", "aborted"),
        (0, "abort", "aborted"),
    ]


@pytest.mark.parametrize("body", [{}, {"request_ids": None}, {"request_ids": []}])
async def test_no_names_mean_everybody_and_the_next_ones_are_welcome(body: dict) -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS, delay=0.002) as http:
        tasks = [running(http), running(http, "/v1/messages", BODIES["/v1/messages"])]
        await until(lambda: engine.steps > 3)
        assert (await http.post("/abort_requests", json=body)).json()["aborted"] == 2
        assert [(await task).status_code for task in tasks] == [200, 200]
        assert not engine.has_work()
        assert (await http.post("/v1/completions", json={**COMPLETION, "max_tokens": 2})).status_code == 200
        again = await http.post("/abort_requests", json={"request_ids": ["mine"]})
        assert again.json() == {"status": "aborted", "aborted": 0}  # names are forgotten with their answers


@pytest.mark.parametrize("ids", ["mine", [7], [""], ["x" * 300], {"a": 1}, 3, ["a"] * 5000])
async def test_other_bodies_are_400_and_end_nothing(ids: Any) -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS) as http:
        refused = await http.post("/abort_requests", json={"request_ids": ids})
        assert (refused.status_code, refused.json()["error"]["param"].split("[")[0].split(".")[0]) == (
            400,
            "request_ids",
        )
        misspelled = await http.post("/abort_requests", json={"request_id": "mine"})
        assert (misspelled.status_code, misspelled.json()["error"]["param"]) == (400, "request_id")
    assert engine.aborted == []
