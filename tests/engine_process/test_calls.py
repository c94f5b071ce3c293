"""Calls to a running engine: carried out in their place, and what is wrong with one ends that one only."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest

from jaxpaged.async_llm import AsyncLLM
from jaxpaged.engine_process.calls import (
    CallError,
    EngineCall,
    ReadKVStats,
    StartProfile,
    UpdateWeights,
    WakeUp,
    carry_out,
)
from jaxpaged.engine_process.protocol import Answer, Call, FromEngine, ToEngine
from jaxpaged.errors import ConfigError, EngineDeadError, JaxPagedError, RequestError, WeightError
from jaxpaged.scheduling.stats import KVStats
from tests.engine_process.test_process import CONFIG, engine, generate
from tests.fake_engine import FakeEngine
from tests.server.harness import async_llm, front_end, until

pytestmark = pytest.mark.anyio


def distant(name: str) -> AsyncLLM:
    """In front of a fake engine in a process of its own."""
    return AsyncLLM.from_client(engine(name), front_end(), CONFIG)


async def test_every_call_crosses_to_another_process_and_back(tmp_path: Path) -> None:
    llm = distant("SlowEngine")
    assert not await llm.is_sleeping()
    await llm.sleep(2)
    assert await llm.is_sleeping()
    with pytest.raises(RequestError, match="the engine sleeps; call wake_up"):
        await generate(llm, "hello")
    await llm.wake_up()
    assert not await llm.is_sleeping()
    await llm.update_weights(tmp_path)
    assert await llm.reset_prefix_cache() is True
    assert await llm.kv_stats() == FakeEngine().kv_stats()
    assert await llm.start_profile(tmp_path) == str(tmp_path)
    assert await llm.stop_profile() == str(tmp_path)
    assert (await generate(llm, "hello", 3)).startswith("hello")
    llm.shutdown()


async def test_what_is_wrong_with_a_call_is_said_and_requests_go_on() -> None:
    llm = distant("SlowEngine")
    running = asyncio.create_task(generate(llm, "hello", 30))
    await until(lambda: llm.stats().num_running == 1)
    with pytest.raises(RequestError, match="level is 3") as caught:
        await llm.sleep(3)
    for wrong in (-1, "x", True, None):
        with pytest.raises(RequestError, match="level is"):
            await llm.sleep(wrong)  # type: ignore[arg-type]
    assert caught.value.param == "level"
    with pytest.raises(RequestError, match="unfinished requests"):
        await llm.sleep()
    with pytest.raises(ConfigError, match="/not/there is no directory"):
        await llm.update_weights("/not/there")
    with pytest.raises(RequestError, match="call start_profile"):
        await llm.stop_profile()
    assert (await running).startswith("hello")
    llm.shutdown()


async def test_calls_keep_their_place_among_additions_and_aborts() -> None:
    llm = distant("SlowEngine")
    stream = llm.submit([await llm.prepare("hello", request_id="one")])
    with pytest.raises(RequestError, match="unfinished"):
        await llm.sleep()
    stream.close()
    await asyncio.gather(llm.sleep(), llm.wake_up(), llm.reset_prefix_cache())
    assert (await generate(llm, "hello", 3)).startswith("hello")
    llm.shutdown()


async def test_a_call_that_waits_when_the_engine_dies_hears_of_it() -> None:
    llm = distant("SlowEngine")
    await generate(llm, "hello", 1)
    llm._client.process.send_signal(signal.SIGSTOP)
    waiting = [asyncio.create_task(llm.is_sleeping()), asyncio.create_task(llm.sleep())]
    await asyncio.sleep(0)
    llm._client.process.kill()
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, EngineDeadError)
        assert "SIGKILL" in str(result)
    with pytest.raises(EngineDeadError):
        await llm.wake_up()
    llm.shutdown()


async def test_a_shutdown_ends_the_calls_that_wait() -> None:
    llm = distant("SlowEngine")
    await generate(llm, "hello", 1)
    llm._client.process.send_signal(signal.SIGSTOP)
    waiting = asyncio.create_task(llm.kv_stats())
    await asyncio.sleep(0)
    llm._client.process.send_signal(signal.SIGCONT)
    llm.shutdown()
    with pytest.raises(EngineDeadError, match="shut down"):
        await waiting


async def test_a_call_given_up_does_not_trouble_those_after_it() -> None:
    llm = async_llm(delay=0.001)
    given_up = asyncio.create_task(llm.is_sleeping())
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert not await llm.is_sleeping()
    llm.shutdown()


async def test_silence_during_a_call_does_not_count_as_being_stuck() -> None:
    """Loading weights may take longer than the longest step."""
    llm = async_llm(FakeEngine(), delay=0.01)
    llm.step_timeout = 0.05
    task = asyncio.create_task(generate(llm, "hello", 3))
    await until(lambda: llm.stats().num_running == 1)
    llm._connection._unanswered.add(0)
    llm._connection._last_batch -= 10
    assert llm.is_healthy()
    llm._connection._unanswered.discard(0)
    assert not llm.is_healthy()
    await task
    llm.shutdown()


def test_errors_cross_with_their_sentence_and_a_bug_without_its_own(capfd) -> None:
    class Broken(FakeEngine):
        def wake_up(self, tags: object = None) -> None:
            raise ZeroDivisionError("a secret")

    result, error = carry_out(Broken(), WakeUp())
    assert result is None
    assert error == CallError("The engine failed to carry out WakeUp.", "fault")
    assert type(error.exception()) is JaxPagedError
    assert "a secret" in capfd.readouterr().err
    _, error = carry_out(FakeEngine(), UpdateWeights("/not/there"))
    assert error is not None
    assert isinstance(error.exception(), ConfigError)
    assert not isinstance(error.exception(), WeightError)  # which of the config errors it is does not cross


@pytest.mark.parametrize("call", [ReadKVStats(), StartProfile("x"), UpdateWeights("y")])
def test_messages_survive_the_wire(call: EngineCall) -> None:
    sent = Call(7, call)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=ToEngine) == sent
    for answer in (
        Answer(7, KVStats(saving=0.5)),
        Answer(7, True),
        Answer(7, "x"),
        Answer(7, None, CallError("x", "request", "y")),
    ):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=FromEngine) == answer


def test_an_unknown_call_is_not_a_message() -> None:
    data = msgspec.msgpack.encode({"type": "Call", "number": 1, "call": {"type": "Exec", "code": "1"}})
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(data, type=ToEngine)
