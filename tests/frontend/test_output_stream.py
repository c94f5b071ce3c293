"""What waits for a slow consumer is joined: nothing is lost, nothing piles up."""

from __future__ import annotations

import pytest

from jaxpaged import RequestOutput
from jaxpaged.frontend.output_stream import MOST_OUTPUTS, OutputStream
from jaxpaged.outputs import CompletionOutput, Logprob

pytestmark = pytest.mark.anyio


def output(request_id: str, index: int, number: int, *, finished: bool = False) -> RequestOutput:
    logprobs = [{number: Logprob(-1.0)}]
    completion = CompletionOutput(index, f"{number} ", [number], -1.0 * number, logprobs)
    if finished:
        completion.finish_reason = "length"
    return RequestOutput(request_id, None, [1], None, [completion], finished, num_cached_tokens=number)


async def test_deltas_are_joined_and_complete() -> None:
    stream = OutputStream(["a", "b"], lambda ids: None)
    count = 10 * MOST_OUTPUTS
    for number in range(count):
        for request_id, index in (("a", 0), ("a", 1), ("b", 0)):
            stream.put(
                output(request_id, index, number, finished=number == count - 1 and (request_id, index) != ("a", 0))
            )
        assert len(stream._outputs) <= MOST_OUTPUTS + 2
    texts: dict[tuple[str, int], str] = {}
    ids: dict[tuple[str, int], list[int]] = {}
    logprobs = 0
    last = {}
    while outputs := await stream.take():
        for one in outputs:
            last[one.request_id] = one
            for completion in one.outputs:
                key = (one.request_id, completion.index)
                texts[key] = texts.get(key, "") + completion.text
                ids[key] = ids.get(key, []) + completion.token_ids
                logprobs += len(completion.logprobs or ())
    assert set(texts.values()) == {"".join(f"{number} " for number in range(count))}
    assert all(got == list(range(count)) for got in ids.values())
    assert len(ids) == 3
    assert logprobs == 3 * count
    assert all(one.finished and one.num_cached_tokens == count - 1 for one in last.values())


async def test_whole_outputs_replace_each_other() -> None:
    stream = OutputStream(["a"], lambda ids: None, deltas=False)
    for number in range(10 * MOST_OUTPUTS):
        stream.put(output("a", 0, number, finished=number == 10 * MOST_OUTPUTS - 1))
    outputs = await stream.take()
    assert len(outputs) <= MOST_OUTPUTS + 1
    assert outputs[-1].outputs[0].token_ids == [10 * MOST_OUTPUTS - 1]
    assert outputs[-1].finished
    assert await stream.take() == []
