"""echo with max_tokens 0: the prompt and its scores, and nothing that was generated."""

from __future__ import annotations

import pytest

from tests.fake_engine import FakeEngine
from tests.server.harness import client, events
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio
PROMPTS = ["hello world", "stop here"]
BODY = {"prompt": PROMPTS, "max_tokens": 0, "echo": True}


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("extra", [{}, {"logprobs": 1}, {"return_token_ids": True}])
async def test_the_prompt_comes_back_alone(n: int, extra: dict) -> None:
    sizes = [len(hf_tokenizer().encode(prompt)) for prompt in PROMPTS for _ in range(n)]
    async with client() as http:
        whole = (await http.post("/v1/completions", json={**BODY, "n": n, **extra})).json()
        body = {**BODY, "n": n, **extra, "stream": True, "stream_options": {"include_usage": True}}
        chunks = events((await http.post("/v1/completions", json=body)).text)
    assert [choice["text"] for choice in whole["choices"]] == [prompt for prompt in PROMPTS for _ in range(n)]
    assert {choice["finish_reason"] for choice in whole["choices"]} == {"length"}
    assert whole["usage"]["completion_tokens"] == 0
    for choice, size in zip(whole["choices"], sizes, strict=True):
        if "logprobs" in extra:
            assert "".join(choice["logprobs"]["tokens"]) == choice["text"]
            assert choice["logprobs"]["token_logprobs"] == [None] + [-0.5] * (size - 1)
        if "return_token_ids" in extra:
            assert (choice["token_ids"], len(choice["prompt_token_ids"])) == ([], size)
    streamed = sorted((chunk["choices"][0] for chunk in chunks[:-1]), key=lambda choice: choice["index"])
    assert streamed == [{name: choice[name] for name in streamed[0]} for choice in whole["choices"]]
    assert chunks[-1]["usage"] == whole["usage"]


async def test_an_end_token_is_not_told() -> None:
    engine = FakeEngine(script=lambda request: [5])
    async with client(engine) as http:
        body = {**BODY, "stop_token_ids": [5]}
        (choice, _) = (await http.post("/v1/completions", json=body)).json()["choices"]
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == ("hello world", "length", None)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"echo": False}, "max_tokens"),
        ({"use_beam_search": True}, "max_tokens"),
        ({"min_tokens": 1}, "min_tokens"),
        ({"logprob_token_ids": [1], "logprobs": 1}, "logprob_token_ids"),
    ],
)
async def test_what_needs_a_token_is_refused(change: dict, param: str) -> None:
    async with client() as http:
        response = await http.post("/v1/completions", json={**BODY, **change})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
