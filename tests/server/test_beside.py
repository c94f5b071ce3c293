"""Answers with many log probabilities are made in a thread, and are the same as those made on the event loop."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest

import server.answers.beside
from server.answers.beside import MOST_INLINE, beside
from server.openai import chat_dialect, completion_dialect, generate_dialect
from tests.server.asgi import call
from tests.server.test_bad_input_table import JSON, OPTIONS, async_llm, build_app, new_engine

pytestmark = pytest.mark.anyio
SCORED = {"max_tokens": 3, "logprobs": 5, "temperature": 0}
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "completion": ("/v1/completions", {"prompt": [5] * 50, "prompt_logprobs": 5, **SCORED}),
    "echo": ("/v1/completions", {"prompt": ["hello world", "a"], "echo": True, **SCORED}),
    "echo in a stream": ("/v1/completions", {"prompt": "hello world", "echo": True, "stream": True, **SCORED}),
    "chat": (
        "/v1/chat/completions",
        {
            "messages": [{"role": "user", "content": "hello"}],
            "prompt_logprobs": 2,
            **SCORED,
            "logprobs": True,
            "top_logprobs": 5,
        },
    ),
    "generate": (
        "/inference/v1/generate",
        {"token_ids": [5] * 20, "sampling_params": {"prompt_logprobs": 2, **SCORED}},
    ),
}


async def test_a_few_are_shown_at_once_and_many_in_a_thread() -> None:
    here = threading.get_ident()
    assert await beside(MOST_INLINE, threading.get_ident) == here
    assert await beside(MOST_INLINE + 1, threading.get_ident) != here


@pytest.mark.parametrize("name", BODIES)
async def test_an_answer_is_the_same_from_a_thread(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = note_threads(monkeypatch)
    inline = await answer(*BODIES[name])
    assert threads == {threading.get_ident()}
    threads.clear()
    monkeypatch.setattr(server.answers.beside, "MOST_INLINE", 0)
    assert await answer(*BODIES[name]) == inline
    assert threads
    assert threading.get_ident() not in threads


def note_threads(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The threads that show log probabilities from now on."""
    threads: set[int] = set()

    def watched(show: Any) -> Any:
        def showing(*arguments: Any, **keywords: Any) -> Any:
            threads.add(threading.get_ident())
            return show(*arguments, **keywords)

        return showing

    for module in (chat_dialect, completion_dialect, generate_dialect):
        for name in ("prompt_logprobs", "completion_logprobs", "chat_logprobs"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, watched(getattr(module, name)))
    return threads


async def answer(path: str, body: dict[str, Any]) -> bytes:
    llm = async_llm(new_engine())
    answer = await call(build_app(llm, OPTIONS), "POST", path, JSON, [json.dumps(body).encode()])
    llm.shutdown()
    assert answer.status == 200, answer.content
    return re.sub(rb'"(id|request_id)":"[^"]*"|"created":\d+', b"", answer.content)
