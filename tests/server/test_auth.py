"""API keys: every route but probes and the page wants one, and nothing about the path or the Host gets around it."""

from __future__ import annotations

import pytest
from starlette.routing import Route

from server.app import build_app
from server.flags import ServerOptions
from tests.server.harness import async_llm, client

pytestmark = pytest.mark.anyio
KEYS = ServerOptions(api_keys=("secret", "other"))
OPEN = {"/", "/health", "/ready"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer secret\x00"},
        {"authorization": "Bearer secret "[:-1] + "x"},
        {"authorization": "Basic secret"},
        {"authorization": "secret"},
        {"authorization": "Bearer s\u00e9cret".encode()},
        {"x-api-key": "wrong"},
        {"x-api-key": "secret", "authorization": "Bearer wrong"},
    ],
)
async def test_without_the_key_there_is_one_answer(headers: dict) -> None:
    async with client(options=KEYS) as http:
        response = await http.get("/v1/models", headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"] == "Bearer"


async def test_two_authorizations_are_refused() -> None:
    async with client(options=KEYS) as http:
        headers = [("authorization", "Bearer secret"), ("authorization", "Bearer wrong")]
        assert (await http.get("/v1/models", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer secret"},
        {"authorization": "bearer other"},
        {"x-api-key": "secret"},
        {"x-api-key": "secret", "authorization": "Bearer secret"},
    ],
)
async def test_with_the_key_all_is_open(headers: dict) -> None:
    async with client(options=KEYS) as http:
        for path in ("/v1/models", "/metrics", "/version", "/openapi.json", "/health"):
            assert (await http.get(path, headers=headers)).status_code == 200


async def test_every_route_is_guarded() -> None:
    """A new route fails here until somebody says that it may be open."""
    app = build_app(async_llm(), KEYS)
    paths = set(app.openapi()["paths"]) | {route.path for route in app.routes if isinstance(route, Route)}
    assert {"/v1/completions", "/tokenize", "/metrics", "/docs", "/load"} <= paths
    async with client(options=KEYS) as http:
        for path in paths:
            for method in ("GET", "POST"):
                status = (await http.request(method, path.replace("{model}", "x"))).status_code
                assert (status != 401) == (path in OPEN), (method, path, status)


@pytest.mark.parametrize(
    "path", ["//v1/models", "/v1/../v1/models", "/V1/models", "/%2fv1/models", "/health/../v1/models", "/healthx"]
)
async def test_spellings_of_a_path_do_not_get_in(path: str) -> None:
    async with client(options=KEYS) as http:
        assert (await http.get(path)).status_code in (401, 404)


@pytest.mark.parametrize("host", ["a/?x=", "localhost/health#", "test"])
async def test_the_host_header_decides_nothing(host: str) -> None:
    async with client(options=KEYS) as http:
        assert (await http.get("/v1/models", headers={"host": host})).status_code == 401


async def test_without_keys_everything_is_open() -> None:
    async with client() as http:
        assert (await http.get("/v1/models", headers={"authorization": "Bearer whatever"})).status_code == 200
