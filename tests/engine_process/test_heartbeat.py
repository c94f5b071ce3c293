"""An engine without work gives signs of life; one that is stopped while it is idle is known before the first victim."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

import jaxpaged.engine_process.connection
from jaxpaged.async_llm import AsyncLLM
from jaxpaged.engine.messages import EngineStats
from jaxpaged.engine_process.connection import MISSED_HEARTBEATS, STUCK, EngineConnection
from jaxpaged.engine_process.protocol import Answer, Batch
from jaxpaged.errors import EngineDeadError
from tests.engine_process.test_process import CONFIG, engine, generate
from tests.server.harness import front_end, until

pytestmark = pytest.mark.anyio
ALIVE = Batch([], [], EngineStats())


class Engine:
    """What an EngineConnection hears of an engine; the test speaks for it."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue = asyncio.Queue()
        self.killed = 0

    async def receive(self) -> Batch | Answer:
        return await self.messages.get()

    def call(self, number: int, call: object) -> None: ...

    def kill(self) -> None:
        self.killed += 1

    def close(self) -> None: ...


class User:
    """Whose requests they would be."""

    def __init__(self) -> None:
        self.waits = False

    def is_waiting(self) -> bool:
        return self.waits

    async def take(self, *batch: object) -> None: ...

    def lose(self, error: EngineDeadError) -> None: ...


class Beats:
    """A sleep that ends when the test says so."""

    def __init__(self) -> None:
        self._ticks: asyncio.Queue = asyncio.Queue()

    async def sleep(self, seconds: float) -> None:
        await self._ticks.get()

    async def pass_by(self, count: int) -> None:
        for _ in range(count):
            self._ticks.put_nowait(None)
            await asyncio.sleep(0)
            await asyncio.sleep(0)


@pytest.fixture
async def parts():
    engine, user, beats = Engine(), User(), Beats()
    connection = EngineConnection(engine, user, beats.sleep)
    connection.watch()
    await asyncio.sleep(0)
    yield connection, engine, user, beats
    connection.close()


async def test_silence_is_counted_and_a_word_ends_it(parts) -> None:
    connection, engine, _, beats = parts
    await beats.pass_by(MISSED_HEARTBEATS - 1)
    connection.check_health()
    await beats.pass_by(1)
    assert not connection.is_healthy()
    with pytest.raises(EngineDeadError, match="no sign of life for 10 seconds"):
        connection.check_health()
    engine.messages.put_nowait(ALIVE)
    await asyncio.sleep(0)
    connection.check_health()
    assert not engine.killed


async def test_signs_of_life_are_enough(parts) -> None:
    connection, engine, _, beats = parts
    for _ in range(3 * MISSED_HEARTBEATS):
        engine.messages.put_nowait(ALIVE)
        await beats.pass_by(1)
    connection.check_health()


async def test_work_and_calls_take_their_time(parts) -> None:
    connection, engine, user, beats = parts
    user.waits = True
    await beats.pass_by(3 * MISSED_HEARTBEATS)
    connection.check_health()
    user.waits = False
    gone = asyncio.create_task(connection.call("anything"))
    await asyncio.sleep(0)
    gone.cancel()  # who asked has left, but the engine still does it
    await asyncio.gather(gone, return_exceptions=True)
    await beats.pass_by(3 * MISSED_HEARTBEATS)
    connection.check_health()
    engine.messages.put_nowait(Answer(1))
    await asyncio.sleep(0)
    await beats.pass_by(MISSED_HEARTBEATS)
    assert not connection.is_healthy()


async def test_a_victim_does_not_make_it_look_well(parts) -> None:
    connection, _, user, beats = parts
    await beats.pass_by(MISSED_HEARTBEATS)
    user.waits = True
    await beats.pass_by(1)
    assert not connection.is_healthy()


async def test_one_that_stays_silent_is_killed_once(parts) -> None:
    connection, engine, _, beats = parts
    await beats.pass_by(round(STUCK * connection.step_timeout))
    assert not engine.killed
    await beats.pass_by(1 + MISSED_HEARTBEATS)
    assert engine.killed == 1


async def test_a_real_engine_beats_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is stopped as a debugger or a freezer would stop it, while nobody asks anything of it."""
    llm = AsyncLLM.from_client(engine("FastEngine"), front_end(), CONFIG)
    try:
        connection, heard = llm._connection, []
        take = connection._take
        monkeypatch.setattr(connection, "_take", lambda message: (heard.append(message), take(message))[1])
        llm.watch()
        await until(lambda: len(heard) >= 2, 20)
        monkeypatch.setattr(jaxpaged.engine_process.connection, "MISSED_HEARTBEATS", 3)
        os.kill(llm._client.process.pid, signal.SIGSTOP)
        await until(lambda: not llm.is_healthy(), 20)
        os.kill(llm._client.process.pid, signal.SIGCONT)
        await until(llm.is_healthy, 20)
        assert await generate(llm, "hello", 1) == "hello"
    finally:
        os.kill(llm._client.process.pid, signal.SIGCONT)
        llm.shutdown()
