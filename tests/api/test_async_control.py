"""AsyncLLM beside its answers: sleep with requests under way, calls by name, vLLM's object of arguments."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jaxpaged.arguments.engine_args import AsyncEngineArgs
from jaxpaged.async_llm import AsyncLLM
from jaxpaged.errors import ConfigError, RequestError
from jaxpaged.sampling_params import RequestOutputKind, SamplingParams
from tests.server.harness import async_llm

pytestmark = pytest.mark.anyio


async def finish_reason(llm: AsyncLLM) -> str | None:
    reason = None
    async for output in llm.generate([1, 2], SamplingParams(max_tokens=20)):
        reason = output.outputs[0].finish_reason
    return reason


@pytest.mark.parametrize(("mode", "reason"), [("abort", "abort"), ("wait", "length")])
async def test_sleep_ends_or_awaits_requests(mode, reason: str) -> None:
    llm = async_llm(delay=0.001)
    answer = asyncio.create_task(finish_reason(llm))
    while not llm.num_in_flight():
        await asyncio.sleep(0)
    with pytest.raises(RequestError, match="unfinished"):
        await llm.sleep(1)
    await llm.sleep(1, mode)
    assert await llm.is_sleeping()
    assert await answer == reason
    assert await llm.wake_up() is True
    assert await finish_reason(llm) == "length"
    with pytest.raises(RequestError, match="mode is 'keep'"):
        await llm.sleep(1, "keep")  # type: ignore[arg-type]
    llm.shutdown()


async def test_calls_by_name() -> None:
    llm = async_llm()
    assert await llm.collective_rpc("is_sleeping", timeout=5) == [False]
    assert await llm.collective_rpc("sleep", args=(2,)) == [None]
    assert await llm.is_sleeping()
    for method in ("generate", "shutdown", print):
        with pytest.raises(RequestError, match="takes no"):
            await llm.collective_rpc(method)
    llm.shutdown()


def test_from_vllms_object_of_arguments(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        AsyncLLM.from_engine_args(AsyncEngineArgs(tmp_path, enable_log_requests=True))
    with pytest.raises(ConfigError, match="stat_loggers"):
        AsyncLLM.from_engine_args(AsyncEngineArgs(tmp_path), stat_loggers=[print])  # type: ignore[arg-type]


@pytest.mark.parametrize(("of_engine", "of_request", "events"), [(1, None, 8), (4, None, 3), (4, 8, 2), (1, 4, 3)])
async def test_a_stream_has_as_many_events_as_the_interval_says(
    of_engine: int, of_request: int | None, events: int
) -> None:
    """The first token comes at once, then every `interval` tokens, and the last."""
    llm = async_llm(stream_interval=of_engine)
    params = SamplingParams(max_tokens=8, stream_interval=of_request, output_kind=RequestOutputKind.DELTA)
    assert len([output async for output in llm.generate([1, 2], params)]) == events
    llm.shutdown()
