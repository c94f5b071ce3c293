"""/v1/chat/completions/batch: every conversation is answered as it would be alone."""

from __future__ import annotations

import pytest

from tests.fake_engine import FakeEngine
from tests.server.harness import client

pytestmark = pytest.mark.anyio
PATH = "/v1/chat/completions/batch"
TALKS = [[{"role": "user", "content": text}] for text in ("hello", "hello world", "world")]


async def test_one_choice_for_each_conversation() -> None:
    shared = {"max_tokens": 5, "logprobs": True, "top_logprobs": 1, "stop": "nothing", "return_token_ids": True}
    async with client() as http:
        batch = (await http.post(PATH, json={"messages": TALKS, **shared})).json()
        alone = [(await http.post("/v1/chat/completions", json={"messages": talk, **shared})).json() for talk in TALKS]
    assert batch["object"] == "chat.completion"
    assert [choice["index"] for choice in batch["choices"]] == [0, 1, 2]
    assert [{**choice, "index": 0} for choice in batch["choices"]] == [answer["choices"][0] for answer in alone]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert batch["usage"][name] == sum(answer["usage"][name] for answer in alone)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 2}, "n"),
        ({"stream": True}, "stream"),
        ({"use_beam_search": True}, "use_beam_search"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"messages": []}, "messages"),
        ({"messages": TALKS[0]}, "messages.0"),
        ({"messages": [[]]}, "messages.0"),
        ({"messages": [[{"role": "user", "content": 3}]]}, "messages.0.0.content"),
        ({"messages": TALKS * 1000}, "messages"),
        ({"messages": [TALKS[0] * 10_000] * 2}, "messages"),
        ({"temperature": 9}, "temperature"),
    ],
)
async def test_a_mistake_is_400_and_names_the_field(change: dict, param: str) -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        answer = await http.post(PATH, json={"messages": TALKS, "max_tokens": 2, **change})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert not engine.requests


async def test_one_that_fails_fails_the_batch_and_nobody_else() -> None:
    engine = FakeEngine(fail={2: "values that are not finite"})
    async with client(engine) as http:
        assert (await http.post(PATH, json={"messages": TALKS, "max_tokens": 5})).status_code == 500
        assert (await http.post(PATH, json={"messages": TALKS, "max_tokens": 5})).status_code == 200
    assert not engine.has_work()
