"""Responses with background: true."""

from __future__ import annotations

import asyncio

import pytest

from server.flags import ServerOptions
from tests.fake_engine import FakeEngine
from tests.server.harness import client, until

pytestmark = pytest.mark.anyio
PATH = "/v1/responses"
BODY = {"input": "hello world", "max_output_tokens": 5, "background": True}


async def ended(http, response_id: str) -> dict:
    async with asyncio.timeout(10):
        while True:
            response = (await http.get(f"{PATH}/{response_id}")).json()
            if response["status"] not in ("queued", "in_progress"):
                return response
            await asyncio.sleep(0.01)


async def test_it_is_queued_and_found_when_it_is_complete() -> None:
    async with client(delay=0.005) as http:
        alone = (await http.post(PATH, json={**BODY, "background": False})).json()
        begun = (await http.post(PATH, json=BODY)).json()
        assert (begun["status"], begun["background"], begun["output"]) == ("queued", True, [])
        done = await ended(http, begun["id"])
        assert done["status"] == alone["status"]
        texts = [one["output"][-1]["content"][0]["text"] for one in (done, alone)]
        assert texts[0] == texts[1]
        assert done["usage"]["output_tokens"] == 5
        assert done["id"] == begun["id"]
        more = await http.post(
            PATH, json={"input": "more", "previous_response_id": begun["id"], "max_output_tokens": 1}
        )
        assert more.status_code == 200


async def test_it_is_cancelled_and_frees_its_row() -> None:
    engine = FakeEngine()
    async with client(engine, delay=0.005) as http:
        begun = (await http.post(PATH, json={**BODY, "max_output_tokens": 200})).json()
        await until(lambda: engine.steps > 3)
        early = await http.post(PATH, json={**BODY, "previous_response_id": begun["id"]})
        assert (early.status_code, early.json()["error"]["param"]) == (400, "previous_response_id")
        cancelled = (await http.post(f"{PATH}/{begun['id']}/cancel")).json()
        assert (cancelled["id"], cancelled["status"]) == (begun["id"], "cancelled")
        await until(lambda: not engine.has_work())
        assert (await http.get(f"{PATH}/{begun['id']}")).json()["status"] == "cancelled"
        again = await http.post(f"{PATH}/{begun['id']}/cancel")
        assert again.status_code == 400
        assert engine.steps < 150


async def test_deleting_one_that_runs_ends_it() -> None:
    engine = FakeEngine()
    async with client(engine, delay=0.005) as http:
        begun = (await http.post(PATH, json={**BODY, "max_output_tokens": 200})).json()
        assert (await http.delete(f"{PATH}/{begun['id']}")).json()["deleted"]
        await until(lambda: not engine.has_work())
        assert (await http.get(f"{PATH}/{begun['id']}")).status_code == 404


async def test_a_failure_is_stored() -> None:
    async with client(FakeEngine(fail={1: "values that are not finite"})) as http:
        begun = (await http.post(PATH, json=BODY)).json()
        failed = await ended(http, begun["id"])
        assert (failed["status"], failed["error"]["code"]) == ("failed", "server_error")
        assert "not finite" in failed["error"]["message"]


async def test_the_time_limit_of_requests_holds() -> None:
    engine = FakeEngine()
    async with client(engine, ServerOptions(request_timeout=0.05), delay=0.02) as http:
        begun = (await http.post(PATH, json={**BODY, "max_output_tokens": 200})).json()
        assert (await ended(http, begun["id"]))["status"] == "failed"
        await until(lambda: not engine.has_work())


@pytest.mark.parametrize(
    ("change", "param"), [({"stream": True}, "background"), ({"store": False}, "background"), ({"background": 1}, None)]
)
async def test_what_cannot_be_is_refused(change: dict, param: str | None) -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        refused = await http.post(PATH, json={**BODY, **change})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param or "background")
    async with client(engine, ServerOptions(max_stored_responses=0)) as http:
        assert (await http.post(PATH, json=BODY)).status_code == 400
    assert not engine.requests


async def test_one_key_does_not_cancel_anothers() -> None:
    options = ServerOptions(api_keys=("one", "other"))
    mine, yours = ({"Authorization": f"Bearer {key}"} for key in options.api_keys)
    engine = FakeEngine()
    async with client(engine, options, delay=0.005) as http:
        begun = (await http.post(PATH, json={**BODY, "max_output_tokens": 100}, headers=mine)).json()
        assert (await http.post(f"{PATH}/{begun['id']}/cancel", headers=yours)).status_code == 404
        assert (await http.post(f"{PATH}/{begun['id']}/cancel", headers=mine)).status_code == 200
