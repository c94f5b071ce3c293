"""--uds: the server listens at a path."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from jaxpaged.errors import ConfigError
from server.app import build_app
from server.http.listen import unix_socket, url_of
from server.http.uvicorn import HttpServer, uvicorn_config
from tests.server.harness import async_llm, until


@pytest.mark.anyio
async def test_it_answers_there_and_leaves_nothing(tmp_path: Path) -> None:
    path, llm = tmp_path / "llm.sock", async_llm()
    with unix_socket(str(path)) as bound:
        assert url_of(bound, "ignored", tls=False) == f"unix:{path}"
        http = HttpServer(
            uvicorn_config(build_app(llm), log_level="critical"), llm, shutdown_timeout=0, on_start=lambda: None
        )
        serving = asyncio.create_task(http._serve([bound]))
        await until(lambda: http.started)
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://x") as client:
            answer = await client.post("/v1/completions", json={"prompt": "x", "max_tokens": 1})
        http.should_exit = True
        await serving
    llm.shutdown()
    assert answer.status_code == 200
    assert not path.exists()


def test_what_a_dead_server_left_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with unix_socket(str(path)) as alive:
        alive.listen()
        with pytest.raises(ConfigError, match="--uds"), unix_socket(str(path)):
            pass
        assert path.exists()
    path.write_text("a file")
    for wrong in (path, tmp_path / "missing" / "x.sock", tmp_path / ("x" * 200)):
        with pytest.raises(ConfigError, match="--uds") as caught, unix_socket(str(wrong)):
            pass
        assert "\n" not in str(caught.value)
    assert path.read_text() == "a file"
