"""Connections at their edges: silent, half closed, with a head at its bound, read slowly; and HEAD."""

from __future__ import annotations

import asyncio
import json

import pytest

import server.http.protocol
from jaxpaged import RequestError, RequestOutputKind, SamplingParams
from server.http.patience import READ_SECONDS, Patience
from server.http.portions import PORTION_BYTES, Portions
from tests.fake_engine import FakeEngine
from tests.server.harness import async_llm, client, until
from tests.server.test_sockets import HEAD, connected

pytestmark = pytest.mark.anyio


def completion(**fields) -> bytes:
    body = json.dumps({"prompt": "hello", "max_tokens": 20, **fields}).encode()
    return HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_a_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.http.protocol, "HEAD_SECONDS", 0.05)
    async with connected() as connection:
        assert (await asyncio.wait_for(connection.answer(), 5))[0] == 408
        assert await asyncio.wait_for(connection.closed(), 5)
    async with connected() as connection:
        connection.send(b"\r\n\r\n")  # empty lines are no request
        assert (await asyncio.wait_for(connection.answer(), 5))[0] == 408


@pytest.mark.parametrize("stream", [False, True])
async def test_a_half_closed_client_gets_its_answer(stream: bool) -> None:
    engine = FakeEngine()
    async with connected(engine, delay=0.01) as connection:
        connection.send(completion(stream=stream))
        await until(lambda: engine.steps > 2)
        connection.writer.write_eof()
        got = await asyncio.wait_for(connection.reader.read(), 10)  # to the end: the server closes
    interim, _, answer = got.partition(b"HTTP/1.1 200")
    assert interim.replace(server.http.protocol.PROBE, b"") == b""
    assert answer
    assert (b"[DONE]" if stream else b'"completion_tokens":20') in answer
    assert not engine.aborted


async def test_pipelined_requests_before_a_half_close_are_all_answered() -> None:
    async with connected(delay=0.001) as connection:
        connection.send(completion() * 3)
        connection.writer.write_eof()
        got = await asyncio.wait_for(connection.reader.read(), 10)
    assert got.count(b"HTTP/1.1 200") == 3


async def test_a_client_that_has_gone_is_told_from_one_that_has_sent_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.http.protocol, "PROBE_DELAYS", (0.05, 0.1))
    engine = FakeEngine()
    async with connected(engine, delay=0.05) as connection:
        connection.send(completion(max_tokens=200))
        await until(lambda: engine.steps > 2)
        connection.writer.close()  # not a half: nobody reads any more
        await until(lambda: len(engine.aborted) == 1)
        assert engine.steps < 150


async def test_a_half_closed_connection_in_the_middle_of_a_request_ends() -> None:
    engine = FakeEngine()
    async with connected(engine) as connection:
        connection.send(HEAD + b"Content-Length: 100\r\n\r\n{")
        connection.writer.write_eof()
        assert b"200" not in await asyncio.wait_for(connection.reader.read(), 5)
    assert not engine.requests


async def test_a_whole_head_in_one_read_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.http.protocol, "MAX_HEAD_BYTES", 1000)
    async with connected() as connection:
        connection.send(b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1000 + b"\r\n\r\n")
        assert (await connection.answer())[0] == 431
        assert await connection.closed()
    async with connected() as connection:
        connection.send(b"GET /" + b"x" * 1000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.answer())[0] == 431


async def test_the_body_of_the_request_before_is_no_part_of_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.http.protocol, "MAX_HEAD_BYTES", 1000)
    async with connected() as connection:
        connection.send(completion(user="x" * 2000) + b"GET /health HTTP/1.1\r\nHo")
        connection.send(b"st: a\r\n\r\n")
        assert [(await connection.answer())[0] for _ in range(2)] == [200, 200]


async def test_large_bodies_go_out_in_portions() -> None:
    content = bytes(range(256)) * 1000
    sent: list[dict] = []

    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    async def send(message) -> None:
        sent.append(message)

    await Portions(app)({"type": "http"}, None, send)
    assert b"".join(message.get("body", b"") for message in sent) == content
    assert [message["more_body"] for message in sent[1:]] == [True, True, True, False]
    assert max(len(message["body"]) for message in sent[1:]) == PORTION_BYTES


class Clock:
    """The part of an event loop that Patience uses."""

    def __init__(self) -> None:
        self.now, self.due = 0.0, None

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback) -> Clock:
        self.due = (self.now + delay, callback)
        return self

    def cancel(self) -> None:
        self.due = None

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        if self.due and self.due[0] <= self.now:
            self.due[1]()


@pytest.mark.parametrize(("seconds_a_wait", "waits"), [(31.0, 1), (READ_SECONDS + 3, 10), (READ_SECONDS, None)])
def test_a_reader_that_is_slow_again_and_again_is_given_up(seconds_a_wait: float, waits: int | None) -> None:
    clock, given_up = Clock(), []
    patience = Patience(clock, lambda: given_up.append(clock.now), 30.0)
    for _ in range(1000):
        patience.wait()
        clock.pass_time(seconds_a_wait)
        if given_up:
            break
        patience.end()
    assert bool(given_up) == (waits is not None)
    assert not given_up or given_up[0] <= (waits or 0) * seconds_a_wait


async def test_what_waits_for_a_reader_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxpaged.frontend.output_stream.MOST_TOKENS", 3000)
    engine = FakeEngine(max_model_len=100_000)
    llm = async_llm(engine)
    params = {"max_tokens": 50_000, "logprobs": 5}
    deltas = SamplingParams(**params, output_kind=RequestOutputKind.DELTA)
    stream = llm.submit([await llm.prepare("hello", deltas)])
    await until(lambda: llm.num_in_flight() == 0)
    assert engine.steps < 2000
    with pytest.raises(RequestError, match="slowly"):
        await stream.take()
    llm.shutdown()


async def test_head_is_get_without_the_body() -> None:
    async with client() as http:
        for path in ("/health", "/ping", "/v1/models", "/metrics", "/openapi.json", "/"):
            got, head = await http.get(path), await http.head(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-type"] == got.headers["content-type"]
        assert (await http.head("/nothing")).status_code == 404
        refused = await http.head("/v1/completions")
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
        assert (await http.put("/health")).headers["allow"] == "GET, HEAD"
    async with connected() as connection:
        connection.send(b"HEAD /health HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await connection.reader.readuntil(b"\r\n\r\n")
        assert b"200" in head.splitlines()[0]
        assert (await connection.answer()) == (200, {"status": "ok"})
