"""What only shows on a real connection: what is not HTTP, what is too large, what is too slow, what stays open."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import server.http.body
import server.http.protocol
from server.app import build_app
from server.flags import ServerOptions
from server.http.listen import listening_socket
from server.http.uvicorn import HttpServer, uvicorn_config
from tests.fake_engine import FakeEngine
from tests.server.harness import async_llm, until

pytestmark = pytest.mark.anyio
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


class Connection:
    """One client socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict]:
        """Status and JSON of the next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].split()[0])
        return int(head.split()[1]), json.loads(await self.reader.readexactly(length))

    async def closed(self) -> bool:
        return await self.reader.read() == b""


@asynccontextmanager
async def listening(
    engine: FakeEngine | None = None,
    options: ServerOptions | None = None,
    *,
    delay: float = 0.0,
    send_buffer: int = 0,
) -> AsyncIterator[Callable[[], Awaitable[Connection]]]:
    """A server in this loop, and what connects to it."""
    llm, options = async_llm(engine, delay=delay), options or ServerOptions()
    with listening_socket("127.0.0.1", 0) as bound:
        if send_buffer:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        config = uvicorn_config(build_app(llm, options), log_level="critical")
        http = HttpServer(config, llm, shutdown_timeout=options.shutdown_timeout, on_start=lambda: None)
        serving = asyncio.create_task(http._serve([bound]))
        await until(lambda: http.started)
        connections: list[Connection] = []

        async def connect() -> Connection:
            connections.append(Connection(*await asyncio.open_connection(*bound.getsockname())))
            return connections[-1]

        try:
            yield connect
        finally:
            for connection in connections:
                connection.writer.close()
            http.should_exit = True
            await serving
            llm.shutdown()


@asynccontextmanager
async def connected(engine: FakeEngine | None = None, **options: Any) -> AsyncIterator[Connection]:
    """A connection to a server in this loop."""
    async with listening(engine, **options) as connect:
        yield await connect()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET /health\r\n\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
    ],
)
async def test_what_is_not_http(request_bytes: bytes) -> None:
    async with connected() as connection:
        connection.send(request_bytes)
        status, body = await connection.answer()
        assert (status, set(body)) == (400, {"error"})


async def test_heads_are_bounded() -> None:
    async with connected() as connection:
        connection.send(b"GET /health HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(5 * 16):
            connection.send(b"x" * 65536)
        assert (await connection.answer())[0] == 431
    async with connected() as connection:
        connection.send(b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1000 + b"\r\n")
        assert (await connection.answer())[0] == 431


async def test_slow_heads_and_bodies_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.http.protocol, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(server.http.body, "BODY_SECONDS", 0.1)
    async with connected() as connection:
        connection.send(b"GET /health HTTP/1.1\r\nHos")
        assert (await connection.answer())[0] == 408
        assert await connection.closed()
    async with connected() as connection:
        connection.send(HEAD + b"Content-Length: 10\r\n\r\n{")
        assert (await connection.answer())[0] == 408
        assert await connection.closed()


async def test_a_connection_serves_one_request_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.http.protocol, "HEAD_SECONDS", 0.2)
    body = json.dumps({"prompt": "hello", "max_tokens": 60}).encode()
    async with connected(delay=0.005) as connection:
        for _ in range(3):  # an answer takes longer than a head may
            connection.send(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            status, answer = await connection.answer()
            assert (status, answer["usage"]["completion_tokens"]) == (200, 60)


async def test_a_client_that_does_not_read_is_cut_off_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.http.protocol, "WRITE_SECONDS", 0.5)
    engine = FakeEngine(max_model_len=1_000_000)
    body = json.dumps({"prompt": "hello", "max_tokens": 900_000, "stream": True}).encode()
    short = json.dumps({"prompt": "hello", "max_tokens": 20}).encode()
    async with connected(engine, delay=0.0001, send_buffer=4096) as connection:
        address = connection.writer.get_extra_info("peername")
        deaf = [socket.socket() for _ in range(10)]
        for one in deaf:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(address)
            one.sendall(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        await until(lambda: len(engine.requests) == 10)
        ended = asyncio.create_task(until(lambda: len(engine.aborted) == 10, 20))
        while not ended.done():
            connection.send(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(short), short))
            assert (await asyncio.wait_for(connection.answer(), 20))[0] == 200
        await ended
        assert not engine.has_work()
        for one in deaf:
            one.close()


async def test_a_client_that_does_not_read_is_let_go_when_it_leaves() -> None:
    engine = FakeEngine(max_model_len=100_000)
    body = json.dumps({"prompt": "hello", "max_tokens": 90_000, "stream": True}).encode()
    async with connected(engine, delay=0.0001) as connection:
        connection.send(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        await until(lambda: engine.steps > 200)
        connection.writer.transport.abort()
        await until(lambda: not engine.has_work())
        assert engine.steps < 90_000
