"""The engine in a process of its own: handshake, messages, faults, and how each side ends when the other does."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxpaged.async_llm import AsyncLLM
from jaxpaged.config import EngineConfig, ModelConfig, SchedulerConfig
from jaxpaged.engine_process.process import EngineProcess
from jaxpaged.errors import ConfigError, EngineDeadError, JaxPagedError
from jaxpaged.sampling_params import RequestOutputKind, SamplingParams
from tests.server.engines import MAGIC_TOKEN
from tests.server.harness import front_end, until

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[2]
CONFIG = EngineConfig(ModelConfig(model="fake"), scheduler=SchedulerConfig(max_num_seqs=8))


def engine(name: str) -> EngineProcess:
    return EngineProcess(CONFIG, engine=f"tests.server.engines:{name}")


@pytest.fixture
def llm(request: pytest.FixtureRequest) -> Iterator[AsyncLLM]:
    llm = AsyncLLM.from_client(engine(request.param), front_end(), CONFIG)
    yield llm
    llm.shutdown()
    assert llm._client.process.poll() is not None


async def generate(llm: AsyncLLM, prompt, max_tokens: int = 10) -> str:
    params = SamplingParams(max_tokens=max_tokens, output_kind=RequestOutputKind.DELTA)
    return "".join([output.outputs[0].text async for output in llm.generate(prompt, params)])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


@pytest.mark.parametrize("llm", ["FastEngine"], indirect=True)
async def test_tokens_come_through(llm: AsyncLLM) -> None:
    results = await asyncio.gather(*(generate(llm, f"hello {index}", 5) for index in range(20)))
    assert [result.startswith("hello") for result in results] == [True] * 20
    assert llm.stats().num_running == 0


@pytest.mark.parametrize("llm", ["FastEngine"], indirect=True)
async def test_it_sleeps_when_idle_and_wakes_at_once(llm: AsyncLLM) -> None:
    await generate(llm, "hello")
    pid = llm._client.process.pid
    before = cpu_seconds(pid), naps(pid)
    await asyncio.sleep(0.5)
    assert cpu_seconds(pid) - before[0] < 0.05
    assert naps(pid) - before[1] <= 2, "it looks again and again instead of waiting for a message"
    await generate(llm, "hello", 1)


@pytest.mark.parametrize("llm", ["SlowEngine"], indirect=True)
async def test_a_pause_stops_the_steps(llm: AsyncLLM) -> None:
    running = asyncio.create_task(generate(llm, "hello", 40))
    await until(lambda: llm.stats().num_steps > 3, 20)
    await llm.pause_generation("keep")
    steps = llm.stats().num_steps
    await asyncio.sleep(0.2)
    assert not running.done()
    await llm.resume_generation()
    assert len(await running) == 40 * len("hello")
    assert llm.stats().num_steps >= 40 > steps


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def naps(pid: int) -> int:
    """How often the process' main thread went to sleep by itself."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("voluntary"))
    return int(line.split()[1])


@pytest.mark.parametrize("llm", ["FragileEngine"], indirect=True)
async def test_a_bug_in_add_ends_that_request_only(llm: AsyncLLM) -> None:
    good = asyncio.create_task(generate(llm, "hello", 20))
    with pytest.raises(JaxPagedError, match="failed to take"):
        await generate(llm, [MAGIC_TOKEN])
    assert (await good).startswith("hello")
    assert llm.is_healthy()


@pytest.mark.parametrize("llm", ["FragileEngine"], indirect=True)
async def test_a_broken_step_fails_all_and_marks_the_engine_dead(llm: AsyncLLM) -> None:
    good = asyncio.create_task(generate(llm, "hello", 100))
    await until(lambda: llm.num_in_flight() == 1)
    with pytest.raises(EngineDeadError, match="ZeroDivisionError"):
        await generate(llm, [MAGIC_TOKEN, MAGIC_TOKEN])
    with pytest.raises(EngineDeadError):
        await good
    assert not llm.is_healthy()


@pytest.mark.parametrize("llm", ["SlowEngine"], indirect=True)
async def test_sigkill_of_the_engine_is_noticed(llm: AsyncLLM) -> None:
    task = asyncio.create_task(generate(llm, "hello", 1000))
    await until(lambda: llm.stats().num_running == 1)
    llm._client.process.kill()
    with pytest.raises(EngineDeadError, match="SIGKILL"):
        await task
    with pytest.raises(EngineDeadError):
        await generate(llm, "hello")


@pytest.mark.parametrize("llm", ["SlowEngine"], indirect=True)
async def test_a_stopped_engine_becomes_unhealthy(llm: AsyncLLM) -> None:
    llm.step_timeout = 0.3
    task = asyncio.create_task(generate(llm, "hello", 1000))
    await until(lambda: llm.stats().num_running == 1)
    assert llm.is_healthy()
    llm._client.process.send_signal(signal.SIGSTOP)
    await until(lambda: not llm.is_healthy())
    llm._client.process.send_signal(signal.SIGCONT)
    await until(llm.is_healthy)
    task.cancel()


@pytest.mark.parametrize("llm", ["SlowEngine"], indirect=True)
async def test_an_abort_reaches_the_process(llm: AsyncLLM) -> None:
    task = asyncio.create_task(generate(llm, "hello", 1000))
    await until(lambda: llm.stats().num_running == 1)
    task.cancel()
    await until(lambda: llm.stats().num_running == 0)
    assert llm.num_in_flight() == 0


def test_a_mistake_in_the_configuration_is_one_sentence(capfd) -> None:
    with pytest.raises(ConfigError, match="the weights are missing; fetch them"):
        engine("RefusingEngine")
    assert "Traceback" not in capfd.readouterr().err


def test_a_bug_while_starting_is_told_apart(capfd) -> None:
    with pytest.raises(EngineDeadError, match="AttributeError"):
        engine("BrokenEngine")
    assert "a bug in build" in capfd.readouterr().err


def test_sockets_are_private_and_removed() -> None:
    before = set(Path(tempfile.gettempdir()).glob("jaxpaged-*"))
    process = engine("FastEngine")
    (directory,) = set(Path(tempfile.gettempdir()).glob("jaxpaged-*")) - before
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    process.close()
    assert not directory.exists()
    assert process.process.poll() == 0


def test_the_engine_ends_when_its_parent_is_killed() -> None:
    program = (
        "import time; from tests.engine_process.test_process import engine; "
        "process = engine('SlowEngine'); print(process.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        deadline = time.monotonic() + 5
        while alive(child):
            assert time.monotonic() < deadline, "the engine outlived its parent"
            time.sleep(0.02)


def test_logits_processors_cannot_cross() -> None:
    with pytest.raises(ConfigError, match="logits_processors"):
        AsyncLLM(EngineConfig(logits_processors=(object(),)))
