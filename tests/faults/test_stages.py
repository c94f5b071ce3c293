"""F8, F9: an exception at each stage of one request ends that request; one in the shared step never hangs anybody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from jaxpaged.async_llm import AsyncLLM
from jaxpaged.frontend.output_processor import _Request
from server.app import build_app
from server.openai.completion_dialect import CompletionDialect
from tests.fake_engine import FakeEngine
from tests.server.asgi import Answer, call
from tests.server.harness import async_llm, until

pytestmark = pytest.mark.anyio
HEADERS = [(b"content-type", b"application/json")]
SECRET = "a bug at 0x7f0000000000"
SLOTS = 4
BAD_SEED = 666


def body(slot: int, *, bad: bool, stream: bool) -> dict[str, Any]:
    return {
        "prompt": f"hello world {slot}",
        "max_tokens": 20,
        "temperature": 1.0,
        "seed": BAD_SEED if bad else slot,
        "stream": stream,
    }


def is_bad(params: Any) -> bool:
    return params is not None and params.seed == BAD_SEED


def in_prepare(llm: AsyncLLM, patch: pytest.MonkeyPatch) -> None:
    process = llm._input.process

    def fails(request_id: str, prompt: Any, params: Any, **keywords: Any) -> Any:
        if is_bad(params):
            raise ZeroDivisionError(SECRET)
        return process(request_id, prompt, params, **keywords)

    patch.setattr(llm._input, "process", fails)


def in_add(llm: AsyncLLM, patch: pytest.MonkeyPatch) -> None:
    engine = llm._client.engine
    add = engine.add

    def fails(request: Any) -> None:
        if is_bad(request.params):
            raise ZeroDivisionError(SECRET)
        add(request)

    patch.setattr(engine, "add", fails)


def in_sampling(llm: AsyncLLM, patch: pytest.MonkeyPatch) -> None:
    engine = llm._client.engine
    advance = engine._advance

    def fails(row: Any, count: int) -> Any:
        if is_bad(row.request.params):
            engine._fail[row.request.request_id] = "values that are not finite"
        return advance(row, count)

    patch.setattr(engine, "_advance", fails)


def in_detokenizing(llm: AsyncLLM, patch: pytest.MonkeyPatch) -> None:
    register = llm._output.add

    def add(prepared: Any) -> None:
        register(prepared)
        if is_bad(prepared.params):
            (sequence,) = llm._output._requests[prepared.request_id].sequences
            sequence._detokenizer.update = lambda *arguments, **keywords: 1 / 0

    patch.setattr(llm._output, "add", add)


def in_putting_together(llm: AsyncLLM, patch: pytest.MonkeyPatch) -> None:
    """After the tokens have been read."""
    output = _Request.output

    def fails(self: Any) -> Any:
        if is_bad(self.prepared.params):
            raise ZeroDivisionError(SECRET)
        return output(self)

    patch.setattr(_Request, "output", fails)


def in_rendering(llm: AsyncLLM, patch: pytest.MonkeyPatch) -> None:
    def fail_if_bad(method: Callable[..., Any]) -> Callable[..., Any]:
        def fails(self: Any, output: Any) -> Any:
            if is_bad(self._answer.batch[0].params):
                raise ZeroDivisionError(SECRET)
            return method(self, output)

        return fails

    for name in ("events", "note"):
        patch.setattr(CompletionDialect, name, fail_if_bad(getattr(CompletionDialect, name)))


STAGES = [in_prepare, in_add, in_sampling, in_detokenizing, in_putting_together, in_rendering]


async def ask_all(app: Any, bad: int | None, *, stream: bool) -> list[Answer]:
    asked = [json.dumps(body(slot, bad=slot == bad, stream=stream)).encode() for slot in range(SLOTS)]
    calls = [call(app, "POST", "/v1/completions", HEADERS, [content]) for content in asked]
    async with asyncio.timeout(10):
        return await asyncio.gather(*calls)


def text_of(answer: Answer) -> str:
    lines = answer.content.decode().split("\n\n")
    bodies = [json.loads(line.removeprefix("data: ")) for line in lines if line and "[DONE]" not in line]
    return "".join(body["choices"][0]["text"] for body in bodies)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
async def test_one_request_fails_alone(stage: Any, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each slot of the batch in turn; the mates' texts are those of a run without a fault."""
    engine = FakeEngine()
    llm = async_llm(engine, delay=0.001)
    app = build_app(llm)
    whole = [text_of(answer) for answer in await ask_all(app, None, stream=stream)]
    stage(llm, monkeypatch)
    for bad in range(SLOTS):
        answers = await ask_all(app, bad, stream=stream)
        failed = answers.pop(bad)
        assert failed.status == 500 or (failed.status == 200 and b'"error":' in failed.content), failed
        assert b"0x" not in failed.content
        assert b"division" not in failed.content
        assert b"[DONE]" not in failed.content
        assert [text_of(answer) for answer in answers] == whole[:bad] + whole[bad + 1 :]
        await until(lambda: not engine.has_work() and llm.num_in_flight() == 0, 2)
    llm.shutdown()


@pytest.mark.parametrize("after", [0, 1, 10])
async def test_a_broken_step_ends_everybody_with_an_error(after: int) -> None:
    llm = async_llm(FakeEngine(crash_after=after), delay=0.001)
    app = build_app(llm)
    for answer in await ask_all(app, None, stream=after == 10):
        assert answer.status == 503 or b'"engine_dead"' in answer.content
        assert b"[DONE]" not in answer.content
    assert (await call(app, "GET", "/health")).status == 503
    llm.shutdown()
