"""F2, F3, F19 on real sockets: too many requests, readers that do not read, no descriptors left."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from live_server import LiveServer, live_server
from soaking.client import ask, request_bytes
from tests.text.samples import model_directory

pytestmark = pytest.mark.anyio
MIB = 2**20
ASKED = {"prompt": "hello world", "max_tokens": 25, "stream": True}
QUEUE, ROWS = 8, 8


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_directory(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[LiveServer]:
    engine = ["--engine-class", "tests.server.engines:SlowEngine"]  # a token each 20 ms
    limits = ["--max-num-seqs", str(ROWS), "--max-num-queued-reqs", str(QUEUE)]
    with live_server(str(directory), *engine, *limits) as running:
        yield running


async def test_overload_is_refused_at_once(server: LiveServer) -> None:
    """F2: ten times of what fits, all at once. Each is served whole or refused with Retry-After; nothing else."""
    outcomes = await asyncio.gather(*[ask(server.port, ASKED) for _ in range(10 * (ROWS + QUEUE))])
    served = [outcome for outcome in outcomes if outcome.status == 200]
    refused = [outcome for outcome in outcomes if outcome.status == 503]
    assert len(served) + len(refused) == len(outcomes)
    assert len(served) >= ROWS + QUEUE
    assert all(outcome.done for outcome in served)
    assert {outcome.text for outcome in served} == {served[0].text}
    assert all(outcome.headers["retry-after"] for outcome in refused)
    assert server.get("/health")[0] == 200


async def test_a_refusal_waits_for_nobody(server: LiveServer) -> None:
    """F2: one at a time while the queue is full, all before one of those that run or wait has its answer."""
    full = [asyncio.create_task(ask(server.port, {**ASKED, "max_tokens": 200})) for _ in range(ROWS + QUEUE)]
    await asyncio.sleep(0.3)
    late = [await ask(server.port, ASKED) for _ in range(21)]
    assert {outcome.status for outcome in late} == {503}
    assert not any(one.done() for one in full)
    assert all(outcome.done for outcome in await asyncio.gather(*full))


async def test_who_does_not_read_slows_nobody_down(directory: Path) -> None:
    """F3: 50 streams that nobody reads, each far larger than the sockets' buffers."""
    engine = ["--engine-class", "tests.server.engines:FastEngine", "--max-model-len", "20000"]
    with live_server(str(directory), *engine, "--max-num-seqs", "64") as server:
        alone = await ask(server.port, ASKED)
        before = server.resident()["front end"]
        deaf = [deaf_stream(server.port) for _ in range(50)]
        try:
            canaries = [await ask(server.port, ASKED) for _ in range(5)]
            assert {canary.text for canary in canaries} == {alone.text}
            await asyncio.sleep(1)
            assert server.resident()["front end"] - before < 150 * MIB
        finally:
            for connection in deaf:
                connection.close()
        assert await idle_within(server, 5)


def deaf_stream(port: int) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(request_bytes("/v1/completions", {**ASKED, "max_tokens": 5_000}))
    return connection


async def idle_within(server: LiveServer, seconds: float) -> bool:
    began = time.monotonic()
    while not server.is_idle():
        if time.monotonic() - began > seconds:
            return False
        await asyncio.sleep(0.05)
    return True


async def test_without_descriptors_it_waits_and_recovers(server: LiveServer) -> None:
    """F19: 200 connections where there are descriptors for about 30."""
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (server.descriptors() + 30, limits[1]))
    idle = []
    try:
        for _ in range(200):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", server.port))
            idle.append(connection)
        await asyncio.sleep(1)
        assert server.process.poll() is None
    finally:
        for connection in idle:
            connection.close()
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
    outcome = await ask(server.port, ASKED)
    assert (outcome.status, outcome.done) == (200, True)
    assert json.loads(server.get("/health")[1]) == {"status": "ok"}
