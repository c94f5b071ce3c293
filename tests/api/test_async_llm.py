"""AsyncLLM as a library: streams, kinds of output, cancellation, failures."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from jaxpaged import EngineDeadError, RequestError, RequestOutputKind, SamplingParams
from jaxpaged.errors import QueueFullError
from tests.fake_engine import FakeEngine
from tests.server.harness import async_llm, until

pytestmark = pytest.mark.anyio
PROMPT = "hello world"


async def texts(stream) -> list[str]:
    return [output.outputs[0].text async for output in stream]


async def test_the_three_kinds_of_output() -> None:
    llm = async_llm(delay=0.001)

    async def run(kind: RequestOutputKind) -> list[str]:
        return await texts(llm.generate(PROMPT, SamplingParams(max_tokens=4, output_kind=kind)))

    assert await run(RequestOutputKind.DELTA) == ["hello", " world", "hello", " world"]
    cumulative = await run(RequestOutputKind.CUMULATIVE)
    assert cumulative[-1] == "hello worldhello world"
    assert all(later.startswith(earlier) for earlier, later in pairwise(cumulative))
    assert await run(RequestOutputKind.FINAL_ONLY) == ["hello worldhello world"]
    llm.shutdown()


async def test_chat_and_defaults() -> None:
    llm = async_llm(sampling={"max_tokens": 3})
    outputs = [output async for output in llm.chat([{"role": "user", "content": "hi"}])]
    assert len(outputs[-1].outputs[0].token_ids) == 3
    llm.shutdown()


async def test_many_at_once_do_not_mix() -> None:
    llm = async_llm(FakeEngine(max_num_seqs=8), delay=0.001, max_num_seqs=8)
    params = SamplingParams(max_tokens=10, output_kind=RequestOutputKind.DELTA)
    streams = [texts(llm.generate([index + 10], params)) for index in range(50)]
    results = await asyncio.gather(*streams)
    vocabulary = llm._front_end.vocabulary
    assert ["".join(result) for result in results] == [vocabulary.decode([index + 10] * 10) for index in range(50)]
    assert llm.num_in_flight() == 0
    llm.shutdown()


async def test_leaving_the_iteration_aborts() -> None:
    engine = FakeEngine()
    llm = async_llm(engine, delay=0.001)
    async for _ in llm.generate(PROMPT, SamplingParams(max_tokens=200), "mine"):
        break
    await until(lambda: not engine.has_work())
    assert engine.aborted == [1]
    llm.shutdown()


async def test_cancelling_the_consumer_aborts() -> None:
    engine = FakeEngine()
    llm = async_llm(engine, delay=0.001)
    task = asyncio.create_task(texts(llm.generate(PROMPT, SamplingParams(max_tokens=200))))
    await until(lambda: engine.steps > 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not engine.has_work())
    assert len(engine.aborted) == 1
    llm.shutdown()


async def test_abort_gives_a_last_output() -> None:
    engine = FakeEngine()
    llm = async_llm(engine, delay=0.001)
    task = asyncio.create_task(_outputs(llm.generate(PROMPT, SamplingParams(max_tokens=200), "mine")))
    await until(lambda: engine.steps > 3)
    await llm.abort("mine")
    last = (await task)[-1]
    assert (last.finished, last.outputs[0].finish_reason) == (True, "abort")
    assert not engine.has_work()
    llm.shutdown()


async def _outputs(stream) -> list:
    return [output async for output in stream]


async def test_engine_death_reaches_every_stream_and_later_ones() -> None:
    llm = async_llm(FakeEngine(crash_after=5))
    results = await asyncio.gather(
        *(texts(llm.generate(PROMPT, SamplingParams(max_tokens=50))) for _ in range(5)), return_exceptions=True
    )
    assert [type(result) for result in results] == [EngineDeadError] * 5
    assert not llm.is_healthy()
    with pytest.raises(EngineDeadError):
        await texts(llm.generate(PROMPT))
    with pytest.raises(EngineDeadError):
        llm.check_health()
    llm.shutdown()


async def test_bad_requests_and_a_full_queue_raise() -> None:
    llm = async_llm(FakeEngine(max_num_seqs=1, max_queued=0), delay=0.01, max_num_seqs=1, max_queued_requests=1)
    with pytest.raises(RequestError, match="vocabulary"):
        await texts(llm.generate([9999]))
    running = asyncio.create_task(texts(llm.generate(PROMPT, SamplingParams(max_tokens=50))))
    await until(lambda: llm.num_in_flight() == 1)
    with pytest.raises(QueueFullError):  # the engine's own, stricter limit
        await texts(llm.generate(PROMPT))
    with pytest.raises(QueueFullError):
        await texts(llm.generate(PROMPT, SamplingParams(n=2)))
    assert len(await running) > 0
    llm.shutdown()


async def test_the_same_id_twice_is_refused() -> None:
    llm = async_llm(delay=0.01)
    first = asyncio.create_task(texts(llm.generate(PROMPT, SamplingParams(max_tokens=5), "same")))
    await until(lambda: llm.num_in_flight() == 1)
    with pytest.raises(RequestError, match="in flight"):
        await texts(llm.generate(PROMPT, request_id="same"))
    assert len(await first) == 5
    llm.shutdown()


async def test_the_same_id_twice_in_one_batch_is_refused() -> None:
    engine = FakeEngine()
    llm = async_llm(engine, delay=0.01)
    batch = [await llm.prepare(PROMPT, SamplingParams(max_tokens=5), "same") for _ in range(2)]
    with pytest.raises(RequestError, match="'same' is in flight"):
        llm.submit(batch)
    assert (llm.num_in_flight(), engine.requests) == (0, [])
    assert len(await texts(llm.generate(PROMPT, SamplingParams(max_tokens=5), "same"))) == 5
    llm.shutdown()


async def test_a_late_refusal_ends_no_other_request() -> None:
    """Its own request has been aborted before it arrives; the end of one id is the other id."""
    llm = async_llm(FakeEngine(refuse={2: "no room"}), delay=0.01)
    params = SamplingParams(max_tokens=30)
    healthy = llm.submit([await llm.prepare(PROMPT, params, "b")])
    llm.submit([await llm.prepare(PROMPT, params, "x_b")])
    await llm.abort("x_b")
    last = None
    while outputs := await asyncio.wait_for(healthy.take(), 10):
        last = outputs[-1]
    assert last.outputs[0].finish_reason == "length"
    llm.shutdown()


@pytest.mark.parametrize("first", ["x", "0_x", "1_x"])
async def test_a_request_may_be_named_like_a_sample_of_another(first: str) -> None:
    llm = async_llm(FakeEngine(), delay=0.001)
    n = {"x": 2, "0_x": 1, "1_x": 1}
    names = sorted(n, key=lambda name: name != first)
    streams = [
        llm.submit([await llm.prepare(PROMPT, SamplingParams(n=n[name], max_tokens=20), name)]) for name in names
    ]
    for name, stream in zip(names, streams, strict=True):
        last = None
        while outputs := await asyncio.wait_for(stream.take(), 10):
            last = outputs[-1]
        assert (last.request_id, last.finished) == (name, True)
        assert [completion.finish_reason for completion in last.outputs] == ["length"] * n[name]
    assert llm.num_in_flight() == 0
    llm.shutdown()


async def test_long_texts_do_not_hold_up_the_loop() -> None:
    """A chat of 2 MB is tokenized (and refused) beside a loop that keeps turning."""
    llm = async_llm()
    turns, running = 0, True

    async def watch() -> None:
        nonlocal turns
        while running:
            await asyncio.sleep(0.001)
            turns += 1

    watcher = asyncio.create_task(watch())
    with pytest.raises(RequestError, match="context"):
        await texts(llm.chat([{"role": "user", "content": "hello world " * 170_000}]))
    running = False
    await watcher
    assert turns > 10  # none if the loop does it itself
    llm.shutdown()


async def test_stats_and_metrics_follow() -> None:
    engine = FakeEngine()
    llm = async_llm(engine, delay=0.002)
    task = asyncio.create_task(texts(llm.generate(PROMPT, SamplingParams(max_tokens=100))))
    await until(lambda: engine.steps > 10)
    assert llm.stats().num_running == 1
    assert llm.stats().last_step_age < 1
    await task
    await until(lambda: llm.stats().num_running == 0)
    assert b"vllm:generation_tokens_total" in llm.metrics.text()
    llm.shutdown()
