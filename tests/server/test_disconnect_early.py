"""A client that goes away while its grammar is tried: nothing is tried for it any more, and nothing begins."""

from __future__ import annotations

import asyncio
import threading

import pytest

from jaxpaged.params.structured import GrammarCost
from jaxpaged.structured.trial import Trial
from jaxpaged.structured.trial_process import TrialProcess
from server.app import build_app
from tests.fake_engine import FakeEngine
from tests.server.harness import Exchange, async_llm, until

pytestmark = pytest.mark.anyio
FORMAT = {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
MESSAGES = [{"role": "user", "content": "hello"}]
BODIES = {
    "/v1/completions": {"prompt": ["hello", "world"], "structured_outputs": {"regex": "a+"}},
    "/v1/chat/completions": {"messages": MESSAGES, "response_format": {"type": "json_object"}, "stream": True},
    "/v1/responses": {"input": "hello", "text": {"format": {**FORMAT, "name": "a"}}},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 5, "output_config": {"format": FORMAT}},
    "/inference/v1/generate": {"token_ids": [5, 6], "sampling_params": {"structured_outputs": {"regex": "a+"}}},
}


@pytest.mark.parametrize("path", BODIES)
async def test_its_grammar_is_given_up(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    go = threading.Event()

    def stuck(self: TrialProcess, wanted: str, seconds: float) -> Trial:
        go.wait(10)
        return Trial(GrammarCost())

    monkeypatch.setattr(TrialProcess, "ask", stuck)
    monkeypatch.setattr(TrialProcess, "start", lambda self: None)
    engine = FakeEngine()
    llm = async_llm(engine)
    exchange = Exchange(build_app(llm), path, BODIES[path])
    task = asyncio.create_task(exchange.run())
    await until(lambda: llm._grammars._waiting > 0)
    exchange.gone.set()
    await asyncio.wait_for(task, 20)
    assert llm._grammars._waiting == 0
    assert engine.requests == []
    go.set()
    llm.shutdown()
