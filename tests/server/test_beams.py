"""use_beam_search: n answers of a search of width n, in one piece."""

from __future__ import annotations

import pytest

from tests.fake_engine import FakeEngine
from tests.server.harness import client
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio
PROMPT = "hello world"


async def test_completions() -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        body = {"prompt": [PROMPT, "stop"], "n": 3, "max_tokens": 2, "use_beam_search": True, "length_penalty": 0.5}
        response = await http.post("/v1/completions", json={**body, "temperature": 0, "seed": 5, "top_k": -1})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3, 4, 5]
    assert [choice["text"] for choice in answer["choices"]][::3] == [PROMPT, "stop"]
    assert answer["choices"][0]["logprobs"] is None
    assert answer["usage"]["completion_tokens"] == 12
    assert answer["usage"]["prompt_tokens"] == len(hf_tokenizer().encode(PROMPT)) + len(hf_tokenizer().encode("stop"))
    for request in engine.requests:
        assert request.beam is not None
        assert (request.beam.beam_width, request.beam.length_penalty) == (3, 0.5)
        assert (request.params.max_tokens, request.params.logprobs) == (2, None)


async def test_chats_with_log_probabilities() -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        body = {"messages": [{"role": "user", "content": PROMPT}], "n": 2, "max_tokens": 3, "use_beam_search": True}
        response = await http.post("/v1/chat/completions", json={**body, "logprobs": True, "top_logprobs": 2})
        without_limit = await http.post("/v1/chat/completions", json={**body, "max_tokens": None, "ignore_eos": True})
    assert response.status_code == 200, response.text
    choices = response.json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert [len(position["top_logprobs"]) for position in choices[0]["logprobs"]["content"]] == [2, 2, 2]
    assert without_limit.status_code == 200, without_limit.text
    assert engine.requests[-1].params.ignore_eos


async def test_echo_takes_no_log_probabilities() -> None:
    async with client(FakeEngine()) as http:
        body = {"prompt": PROMPT, "n": 2, "max_tokens": 2, "use_beam_search": True, "echo": True}
        response = await http.post("/v1/completions", json=body)
        refused = await http.post("/v1/completions", json={**body, "logprobs": 1})
    assert [choice["text"] for choice in response.json()["choices"]] == [PROMPT + PROMPT] * 2
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "echo")


async def test_the_models_own_sampling_defaults_are_ignored() -> None:
    """Greedy with n > 1 is refused elsewhere; a search is exempt."""
    async with client(FakeEngine()) as http:
        body = {"prompt": PROMPT, "n": 2, "max_tokens": 2, "temperature": 0}
        assert (await http.post("/v1/completions", json=body)).status_code == 400
        assert (await http.post("/v1/completions", json={**body, "use_beam_search": True})).status_code == 200
        assert (await http.post("/v1/completions", json={**body, "use_beam_search": False})).status_code == 400
