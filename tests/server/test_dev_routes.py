"""Routes for developers: there with --enable-dev-routes only, behind the key, and with errors of the usual shape."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts

from jaxpaged.engine.sleep import WAKE_TAGS
from server.app import build_app
from server.flags import ServerOptions, parse_flags, server_options
from tests.fake_engine import FakeEngine
from tests.server.harness import async_llm, client

pytestmark = pytest.mark.anyio
OPTIONS = ServerOptions(dev_routes=True)
POSTS = (
    "/sleep",
    "/pause",
    "/resume",
    "/wake_up",
    "/update_weights",
    "/abort_requests",
    "/reset_prefix_cache",
    "/start_profile",
    "/stop_profile",
)
COMPLETION = {"prompt": "hello world", "max_tokens": 2}


def paths(options: ServerOptions) -> set[str]:
    llm = async_llm()
    found = {route.path for route in iter_route_contexts(build_app(llm, options).routes)}
    llm.shutdown()
    return found


async def test_they_are_there_when_asked_for_only() -> None:
    assert paths(OPTIONS) - paths(ServerOptions()) == {*POSTS, "/is_sleeping", "/is_paused"}
    assert not server_options(parse_flags([])).dev_routes
    assert server_options(parse_flags(["--enable-dev-routes"])).dev_routes
    async with client() as http:
        for path in POSTS:
            assert (await http.post(path)).status_code == 404


async def test_the_engine_sleeps_and_wakes_up() -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS) as http:
        assert (await http.get("/is_sleeping")).json() == {"is_sleeping": False}
        assert (await http.post("/sleep?level=2")).status_code == 200
        assert (await http.get("/is_sleeping")).json() == {"is_sleeping": True}
        refused = await http.post("/v1/completions", json=COMPLETION)
        assert (refused.status_code, "sleeps" in refused.json()["error"]["message"]) == (400, True)
        assert (await http.post("/wake_up")).status_code == 200
        assert (await http.post("/v1/completions", json=COMPLETION)).status_code == 200
    assert engine.calls == [("sleep", 2), ("wake_up", *WAKE_TAGS)]


async def test_weights_wake_before_the_pool() -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS) as http:
        await http.post("/sleep?level=0")
        assert (await http.post("/wake_up?tags=weights")).status_code == 200
        assert (await http.get("/is_sleeping")).json() == {"is_sleeping": True}
        refused = await http.post("/wake_up?tags=scheduler")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tags")
        assert (await http.post("/wake_up?tags=weights&tags=kv_cache")).status_code == 200
        assert (await http.get("/is_sleeping")).json() == {"is_sleeping": False}


async def test_weights_caches_and_profiles(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS) as http:
        assert (await http.post("/update_weights", json={"path": str(tmp_path)})).status_code == 200
        assert (await http.post("/reset_prefix_cache")).json() == {"success": True}
        begun = (await http.post("/start_profile")).json()["directory"]
        assert (await http.post("/stop_profile")).json() == {"directory": begun}
    assert engine.calls == [("update_weights", str(tmp_path)), ("reset_prefix_cache",)]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        *((f"/sleep?level={level}", None, "level") for level in ("3", "-1", "deep", "1e99", "")),
        ("/update_weights", {"path": "/not/there"}, "path"),
        ("/update_weights", {"path": ""}, "path"),
        ("/update_weights", {"path": 7}, "path"),
        ("/update_weights", {}, "path"),
        ("/update_weights", {"path": "/tmp", "more": 1}, "more"),
        ("/stop_profile", None, None),
    ],
)
async def test_a_mistake_is_400_and_names_the_field(path: str, body: dict | None, param: str | None) -> None:
    engine = FakeEngine()
    async with client(engine, OPTIONS) as http:
        answer = await http.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert (await http.post("/v1/completions", json=COMPLETION)).status_code == 200
    assert engine.calls == []


async def test_they_are_behind_the_key_and_take_one_method() -> None:
    async with client(None, ServerOptions(dev_routes=True, api_keys=("key",))) as http:
        for path in POSTS:
            assert (await http.post(path)).status_code == 401
            assert (await http.put(path, headers={"Authorization": "Bearer key"})).status_code == 405


async def test_a_dead_engine_is_said_to_be_dead() -> None:
    async with client(FakeEngine(crash_after=0), OPTIONS) as http:
        assert (await http.post("/v1/completions", json=COMPLETION)).status_code >= 500
        for path in ("/sleep", "/wake_up", "/reset_prefix_cache", "/start_profile"):
            assert (await http.post(path)).status_code in (500, 503)


async def test_they_are_in_the_description() -> None:
    async with client(None, OPTIONS) as http:
        described = (await http.get("/openapi.json")).json()
    assert {*POSTS, "/is_sleeping"} <= set(described["paths"])
    assert "UpdateWeightsRequest" in described["components"]["schemas"]
