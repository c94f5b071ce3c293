"""Every route against every row of bad input (62 of them, reliability table 1c).

For each pair: the stated code within two seconds of processor time (other processes do not count) and in one shape that
shows nothing of the inside; a canary beside it gets what it always gets; afterwards nothing runs, nothing waits, and
memory is where it was. The event loop is never held for a quarter of a second.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import re
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

import server.http.body
import server.http.protocol
from jaxpaged import AsyncLLM
from server.app import build_app
from server.flags import ServerOptions
from tests.fake_engine import FakeEngine
from tests.server.asgi import Answer, call
from tests.server.bad_answers import check, check_error, without_ids
from tests.server.bad_fields import CONTEXT, VOCAB
from tests.server.bad_routes import CLASSES
from tests.server.bad_rows import JSON, KEY, ROWS, Case, Target
from tests.server.bad_sockets import SMUGGLED, SOCKET_ROWS, raw_cases
from tests.server.harness import async_llm, until
from tests.server.test_sockets import listening

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
NUM_ROWS = 62
OWN_TESTS = {6, 7, 50, 62}
ANSWER_SECONDS = 2.0
PATIENCE = 40.0  # on a busy machine; what takes longer hangs
LOOP_SECONDS = 0.25
RSS_BYTES = 20 * 2**20
CANARY = {"prompt": "hello world", "max_tokens": 40, "stream": True}
LIBC = ctypes.CDLL("libc.so.6") if sys.platform == "linux" else None
OPTIONS = ServerOptions(api_keys=("key",), tokenizer_info=True, dev_routes=True)
ASKED = """
    prepare render encode_text decode submit num_in_flight check_health get_tokenizer sleep wake_up is_sleeping
    update_weights reset_prefix_cache start_profile stop_profile pause_generation resume_generation is_paused
"""  # of the engine's front end, by routes

PAIRS = [
    (target, number)
    for target, reasons in CLASSES.values()
    for number in range(1, NUM_ROWS + 1)
    if number not in reasons
]


class LoopHeldError(AssertionError):
    """The event loop's thread worked for too long between two turns."""


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> Iterator[None]:
    """What lives before these tests is left out of their many collections."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@dataclass(frozen=True)
class Served:
    """An application and the engine behind it."""

    app: FastAPI
    engine: FakeEngine
    llm: AsyncLLM


def new_served() -> Served:
    engine = new_engine()
    llm = async_llm(engine, delay=0.001)
    return Served(build_app(llm, OPTIONS), engine, llm)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def served_for() -> AsyncIterator[Callable[[Target], Served]]:
    """One application a route, for all its rows: what a row leaves behind is met by the next ones."""
    kept: dict[str, Served] = {}

    def end() -> None:
        for served in kept.values():
            served.llm.shutdown()
        kept.clear()

    def find(target: Target) -> Served:
        if target.name not in kept:
            end()
            kept[target.name] = new_served()
        return kept[target.name]

    yield find
    end()


def name(pair: tuple[Target, int]) -> str:
    return f"{pair[0].name} {pair[1]}"


def new_engine() -> FakeEngine:
    return FakeEngine(vocab_size=VOCAB, max_model_len=CONTEXT)


async def test_every_route_is_classified() -> None:
    llm = async_llm()
    routes = iter_route_contexts(build_app(llm, OPTIONS).routes)
    found = {f"{method} {route.path}" for route in routes for method in route.methods or () if method != "HEAD"}
    llm.shutdown()
    assert found == set(CLASSES), "classify new routes in tests/server/bad_routes.py"


@pytest.mark.parametrize("target", [target for target, _ in CLASSES.values()], ids=lambda target: target.name)
def test_a_row_has_cases_or_a_reason(target: Target) -> None:
    reasons = CLASSES[target.name][1]
    assert set(reasons) <= set(range(1, NUM_ROWS + 1))
    assert all(reasons.values())
    with_cases = {number for number, make in ROWS.items() if next(make(target), None) is not None} | OWN_TESTS
    applies = set(range(1, NUM_ROWS + 1)) - set(reasons)
    assert applies - with_cases == set(), "these rows need cases in bad_rows.py, or a reason why they do not apply"


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[1] in ROWS], ids=name)
async def test_row(pair: tuple[Target, int], served_for: Callable[[Target], Served]) -> None:
    target, number = pair
    cases = list(ROWS[number](target))  # whole before anything is timed
    async with watched(served_for(target)) as served:
        for case in cases:
            check(case, await timed(served.app, case))
            await turns()  # what one request holds is measured, not what a row of them does


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[1] in SOCKET_ROWS], ids=name)
async def test_raw_row(pair: tuple[Target, int], monkeypatch: pytest.MonkeyPatch) -> None:
    target, number = pair
    if number == 7:
        monkeypatch.setattr(server.http.protocol, "HEAD_SECONDS", 0.1)
        monkeypatch.setattr(server.http.body, "BODY_SECONDS", 0.1)
    engine = new_engine()
    async with listening(engine, OPTIONS) as connect:
        for case in raw_cases(number, target):
            connection = await connect()
            connection.send(case.content)
            status, body = await asyncio.wait_for(connection.answer(), PATIENCE)
            assert status in case.allowed, case.what
            assert set(body) - {"type"} == {"error"}
            with suppress(ConnectionResetError):  # it had more to send
                assert await asyncio.wait_for(connection.closed(), PATIENCE), case.what
        connection = await connect()
        connection.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.answer())[0] == 200
    assert not [request for request in engine.requests if SMUGGLED.decode() in str(request)]


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[1] == 50], ids=name)
async def test_a_fault_of_ours_says_nothing(pair: tuple[Target, int], monkeypatch, caplog) -> None:
    """Row 50: whatever the route asks of the engine's front end fails with a secret in its message."""
    target = pair[0]
    llm = async_llm(new_engine())
    app = build_app(llm, OPTIONS)

    def fail(*arguments, **keywords):
        raise ZeroDivisionError("secret at 0x7f0000000000 in /home/us/file.py")

    for method in ASKED.split():
        monkeypatch.setattr(llm, method, fail)
    monkeypatch.setattr(llm.metrics, "text", fail)
    answer = await call(app, target.method, target.url, JSON, [target.encoded()])
    check_error(answer)
    assert answer.status == 500
    assert answer.header(b"x-request-id")
    assert "ZeroDivisionError" in caplog.text
    assert "Bearer" not in caplog.text
    llm.shutdown()


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_the_same_request_id_twice(path: str) -> None:
    """Row 52: who disconnects ends his own request only, whatever ids the clients have made up."""
    target = CLASSES[f"POST {path}"][0]
    headers = [*JSON, (b"x-request-id", b"a")]
    body = [target.encoded({"max_tokens": 60, "stream": True})]
    async with watched(new_served(), canaries=False) as served:
        app, engine = served.app, served.engine
        alone = await call(app, "POST", path, headers, body)
        gone = asyncio.Event()
        one = asyncio.create_task(call(app, "POST", path, headers, body, gone=gone))
        other = asyncio.create_task(call(app, "POST", path, headers, body))
        await until(lambda: len(engine.requests) == 3 and engine.steps > 70)
        gone.set()
        assert len((await one).content) < len(alone.content)
        assert without_ids((await other).content) == without_ids(alone.content)
    served.llm.shutdown()


@asynccontextmanager
async def watched(served: Served, *, canaries: bool = True) -> AsyncIterator[Served]:
    """An application, watched: its canaries, the event loop, what is left behind."""
    app, engine, llm = served.app, served.engine, served.llm
    series = await metric_series(app)
    before = memory()
    watchers = [asyncio.create_task(watch_loop()), *([asyncio.create_task(sing(app))] if canaries else [])]
    await asyncio.sleep(0)
    try:
        yield served
    finally:
        for watcher in watchers:
            watcher.cancel()
        results = await asyncio.gather(*watchers, return_exceptions=True)
    for result in results:
        if isinstance(result, LoopHeldError):
            raise result
    assert all(isinstance(result, asyncio.CancelledError) for result in results), results
    await until(lambda: not engine.has_work() and llm.num_in_flight() == 0, PATIENCE)
    await until(lambda: llm.stats().num_running == llm.stats().num_waiting == 0, PATIENCE)
    assert (await call(app, "GET", "/health")).status == 200
    assert await metric_series(app) - series == set()
    assert memory() - before < RSS_BYTES


def memory() -> int:
    """This process's resident bytes, after what is free has gone back to the system."""
    gc.collect()
    if LIBC is None:
        return 0
    LIBC.malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def turns() -> None:
    """Let the loop turn until a watcher whose time has come has looked."""
    for _ in range(3):
        await asyncio.sleep(0)


async def watch_loop() -> None:
    """Fails when the loop's thread works for too long between two turns."""
    while True:
        began = time.thread_time()
        await asyncio.sleep(0.005)
        held = time.thread_time() - began
        if held >= LOOP_SECONDS:
            raise LoopHeldError(f"the event loop was held for {held:.2f} s")


async def sing(app: object) -> None:
    """Greedy streams, one after the other, that must all be the same; the last one may end with the row."""
    first = b""
    while True:
        answer = await call(app, "POST", "/v1/completions", JSON, [json.dumps(CANARY).encode()])
        content = without_ids(answer.content)
        first = first or content
        assert content == first, "a canary got another answer"
        assert content.endswith(b"data: [DONE]\n\n")


async def metric_series(app: object) -> set[str]:
    """Names and labels, without those of HTTP: one for each route, method and status that was met."""
    lines = (await call(app, "GET", "/metrics", KEY)).content.decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith(("#", "http_"))}


async def timed(app: object, case: Case) -> Answer:
    began = time.process_time()
    async with asyncio.timeout(PATIENCE):
        answer = await call(app, case.method, case.target, case.headers, case.chunks)
    assert time.process_time() - began < ANSWER_SECONDS, case.what
    return answer


def test_the_table_says_what_it_says_of_files() -> None:
    """The places that reasons point to exist."""
    root = Path(__file__).resolve().parents[2]
    for _, reasons in CLASSES.values():
        for place in re.findall(r"tests/[\w/]+(?:\.py)?", " ".join(reasons.values())):
            assert (root / place).exists(), place
