"""The engine dies: who is told, when it comes back, and when it does not."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import pytest

from jaxpaged.async_llm import AsyncLLM
from jaxpaged.config import EngineConfig, ModelConfig
from jaxpaged.engine_process.process import EngineProcess
from jaxpaged.engine_process.supervisor import (
    EngineState,
    EngineSupervisor,
    RestartBudget,
    RestartPolicy,
    RunningEngine,
)
from jaxpaged.errors import ConfigError, EngineDeadError, EngineRestartingError
from jaxpaged.sampling_params import RequestOutputKind, SamplingParams
from tests.fake_engine import FakeEngine
from tests.server.harness import MODEL, LocalClient, client, front_end, until

pytestmark = pytest.mark.anyio
CONFIG = EngineConfig(ModelConfig(served_model_name=MODEL))
QUICK = RestartPolicy(most=3, first_delay=0.01)


class Mortal(LocalClient):
    """An engine in this process that says what has been done to it."""

    def __init__(self, crash_after: int | None = None) -> None:
        super().__init__(FakeEngine(crash_after=crash_after))
        self.ends: list[str] = []

    def kill(self) -> None:
        self.ends.append("kill")

    def detach(self) -> None:
        self.ends.append("detach")

    def close(self) -> None:
        self.ends.append("close")


class Starter:
    """Gives out engines, or raises, in the order of `lives`."""

    def __init__(self, *lives: Mortal | Exception) -> None:
        self.lives = list(lives)

    def __call__(self, given_up: threading.Event) -> Mortal:
        life = self.lives.pop(0)
        if isinstance(life, Exception):
            raise life
        return life


def supervised(*lives: Mortal | Exception, policy: RestartPolicy = QUICK) -> tuple[AsyncLLM, EngineSupervisor]:
    supervisor = EngineSupervisor(Starter(*lives), policy)
    return AsyncLLM.from_client(supervisor, front_end(), CONFIG), supervisor


async def generate(llm: AsyncLLM, max_tokens: int = 10) -> int:
    params = SamplingParams(max_tokens=max_tokens, output_kind=RequestOutputKind.FINAL_ONLY)
    async for output in llm.generate("hello world", params):
        return len(output.outputs[0].token_ids)
    raise AssertionError("no output")


def test_the_budget_is_a_sliding_window_and_delays_double() -> None:
    now = 0.0
    budget = RestartBudget(RestartPolicy(most=4, window=100, first_delay=1, longest_delay=3), lambda: now)
    assert [budget.take() for _ in range(5)] == [1, 2, 3, 3, None]
    now = 99.0
    assert (budget.left(), budget.take()) == (0, None)
    now = 100.0
    assert (budget.left(), budget.take()) == (4, 1)


async def test_requests_in_flight_fail_and_the_next_engine_serves() -> None:
    first = Mortal(crash_after=3)
    llm, supervisor = supervised(first, Mortal())
    with pytest.raises(EngineRestartingError, match="told to crash"):
        await generate(llm)
    assert not llm.is_running
    with pytest.raises(EngineRestartingError):
        await generate(llm)
    await until(lambda: llm.is_running)
    assert await generate(llm) == 10
    assert first.ends == ["detach", "kill", "close"]
    assert (supervisor.state, supervisor.num_restarts, llm.metrics.engine_restarts) == (EngineState.RUNNING, 1, 1)
    assert llm.metrics.finished["error"] == 1
    assert llm.num_in_flight() == llm._requests.num_sequences == 0
    llm.shutdown()


async def test_a_start_that_fails_is_tried_again() -> None:
    llm, supervisor = supervised(Mortal(crash_after=0), ConfigError("no memory"), EngineDeadError("gone"), Mortal())
    with pytest.raises(EngineRestartingError):
        await generate(llm)
    await until(lambda: llm.is_running)
    assert await generate(llm) == 10
    assert supervisor.num_restarts == 1
    llm.shutdown()


async def test_a_spent_budget_is_the_end() -> None:
    llm, supervisor = supervised(Mortal(crash_after=0), *(EngineDeadError("gone") for _ in range(3)))
    with pytest.raises(EngineRestartingError):
        await generate(llm)
    await until(lambda: supervisor.state is EngineState.DEAD)
    with pytest.raises(EngineDeadError, match="too often"):
        await generate(llm)
    llm.shutdown()


async def test_without_restarts_the_first_death_is_the_last() -> None:
    llm, supervisor = supervised(Mortal(crash_after=0), policy=RestartPolicy())
    with pytest.raises(EngineDeadError) as caught:
        await generate(llm)
    assert not isinstance(caught.value, EngineRestartingError)
    assert supervisor.state is EngineState.DEAD
    llm.shutdown()


async def test_a_first_start_that_fails_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no memory"):
        supervised(ConfigError("no memory"))


async def test_http_says_what_is_going_on() -> None:
    llm, _ = supervised(Mortal(crash_after=3), Mortal(), policy=RestartPolicy(most=1, first_delay=0.2))
    async with client(llm=llm) as http:
        body = {"prompt": "hello world", "max_tokens": 9}
        text = (await http.post("/v1/completions", json={**body, "stream": True})).text
        assert text.rstrip().endswith("}")
        assert "engine_restarting" in text
        assert "[DONE]" not in text
        refused = await http.post("/v1/completions", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_restarting")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await http.get("/health")).status_code == 503
        assert "jaxpaged:engine_up{" in (metrics := (await http.get("/metrics")).text)
        assert 'jaxpaged:engine_up{engine="0",model_name="fake"} 0.0' in metrics
        await until(lambda: llm.is_running)
        assert (await http.get("/health")).status_code == 200
        assert (await http.post("/v1/completions", json=body)).status_code == 200
        assert "jaxpaged:engine_restarts_total" in (await http.get("/metrics")).text


def process(name: str) -> EngineSupervisor:
    def start(given_up: threading.Event) -> EngineProcess:
        return EngineProcess(CONFIG, engine=f"tests.server.engines:{name}", given_up=given_up)

    return EngineSupervisor(start, QUICK)


async def test_a_killed_process_is_replaced_even_when_idle() -> None:
    supervisor = process("SlowEngine")
    llm = AsyncLLM.from_client(supervisor, front_end(), CONFIG)
    llm.watch()
    first = supervisor._engine.process
    first.kill()
    await until(lambda: not llm.is_running, 2)
    assert first.poll() is not None
    await until(lambda: llm.is_running, 10)
    assert await generate(llm) == 10
    second = supervisor._engine.process
    assert second.pid != first.pid
    llm.shutdown()
    assert second.poll() is not None


async def test_a_stopped_process_is_found_by_its_step_age_and_replaced() -> None:
    supervisor = process("SlowEngine")
    llm = AsyncLLM.from_client(supervisor, front_end(), CONFIG)
    llm.step_timeout = 0.2
    llm.watch()
    task = asyncio.create_task(generate(llm, 200))
    await until(lambda: llm.stats().num_running == 1)
    supervisor._engine.process.send_signal(signal.SIGSTOP)
    await until(lambda: not llm.is_healthy(), 2)
    with pytest.raises(EngineRestartingError):
        await task
    await until(lambda: llm.is_healthy(), 10)
    assert await generate(llm) == 10
    llm.shutdown()


async def test_a_front_end_that_stood_still_does_not_blame_the_engine() -> None:
    engine = Mortal()
    engine.delay = 0.15
    llm, _ = supervised(engine)
    llm.step_timeout = 0.2
    llm.watch()
    task = asyncio.create_task(generate(llm, 5))
    await until(lambda: engine.engine.steps == 1)
    time.sleep(0.8)  # as after SIGSTOP and SIGCONT
    assert await task == 5
    assert engine.ends == []
    llm.shutdown()


async def test_shutdown_does_not_wait_for_an_engine_that_starts() -> None:
    supervisor = process("SlowEngine")
    start, given_up = supervisor._start, []

    def watched(closing: threading.Event) -> RunningEngine:
        try:
            return start(closing)
        except EngineDeadError as error:
            given_up.append(error)
            raise

    supervisor._start = watched
    llm = AsyncLLM.from_client(supervisor, front_end(), CONFIG)
    llm.watch()
    supervisor._engine.process.kill()
    await until(lambda: supervisor.state is EngineState.STARTING)
    llm.shutdown()
    supervisor._threads.shutdown(wait=True)
    assert len(given_up) == 1
