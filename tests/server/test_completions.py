"""/v1/completions over an engine that echoes the prompt."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.fake_engine import FakeEngine
from tests.server.harness import client, events
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio
PROMPT = "hello world, the quick brown fox"


def count(text: str) -> int:
    return len(hf_tokenizer().encode(text))


async def complete(http: httpx.AsyncClient, **body) -> dict:
    response = await http.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def test_text_ids_and_lists_of_either() -> None:
    ids = hf_tokenizer().encode(PROMPT)
    async with client() as http:
        for prompt in (PROMPT, ids):
            body = await complete(http, prompt=prompt, max_tokens=len(ids))
            assert [choice["text"] for choice in body["choices"]] == [PROMPT]
        for prompt in ([PROMPT, "stop"], [ids, hf_tokenizer().encode("stop")]):
            body = await complete(http, prompt=prompt, max_tokens=2)
            assert [choice["index"] for choice in body["choices"]] == [0, 1]
            assert [choice["text"] for choice in body["choices"]] == ["hello world", "stop"]
            assert body["usage"]["prompt_tokens"] == len(ids) + count("stop")
            assert body["usage"]["completion_tokens"] == 4


async def test_defaults_are_openais() -> None:
    async with client() as http:
        body = await complete(http, prompt=PROMPT)
    assert body["object"] == "text_completion"
    assert body["usage"]["completion_tokens"] == 16
    assert body["choices"][0]["finish_reason"] == "length"


async def test_n_and_seed_reach_the_engine() -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        body = await complete(http, prompt=[PROMPT, "stop"], n=3, seed=7, max_tokens=2)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3, 4, 5]
    assert [request.params.seed for request in engine.requests] == [7, 8, 9] * 2
    assert body["usage"]["completion_tokens"] == 12


async def test_tokens_from_the_prefix_cache_are_in_the_usage() -> None:
    """Once per prompt, whatever n is; the same in a stream."""
    engine = FakeEngine()
    engine.cached_tokens = 1
    async with client(engine) as http:
        body = {"prompt": [PROMPT, "stop"], "n": 2, "max_tokens": 2}
        whole = await complete(http, **body)
        options = {"stream": True, "stream_options": {"include_usage": True}}
        response = await http.post("/v1/completions", json={**body, **options})
        metrics = (await http.get("/metrics")).text
    assert whole["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert events(response.text)[-1]["usage"] == whole["usage"]
    (line,) = [line for line in metrics.splitlines() if line.startswith("vllm:prompt_tokens_cached_total")]
    assert line.endswith(" 4.0")


async def test_every_sampling_field_reaches_the_engine() -> None:
    fields = {
        "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "presence_penalty": 0.1, "frequency_penalty": 0.2,
        "repetition_penalty": 1.1, "seed": 3, "stop": ["zzz"], "stop_token_ids": [5], "min_tokens": 2, "max_tokens": 4,
        "ignore_eos": True, "allowed_token_ids": [1, 2], "logit_bias": {"7": 1.5}, "skip_special_tokens": False,
        "spaces_between_special_tokens": False, "include_stop_str_in_output": True, "bad_words": ["fox"],
        "logprob_token_ids": [1, 2],
    }  # fmt: skip
    engine = FakeEngine()
    async with client(engine) as http:
        await complete(http, prompt=PROMPT, **fields)
    params = engine.requests[0].params
    got = {name: getattr(params, name) for name in fields} | {
        "logit_bias": {str(k): v for k, v in params.logit_bias.items()}
    }
    assert got == fields


async def test_the_models_own_sampling_settings_are_defaults() -> None:
    engine = FakeEngine()
    async with client(engine, sampling={"temperature": 0.3, "top_k": 9}) as http:
        await complete(http, prompt=PROMPT, top_k=4)
    assert (engine.requests[0].params.temperature, engine.requests[0].params.top_k) == (0.3, 4)


async def test_hints_and_unknown_fields_are_ignored() -> None:
    async with client() as http:
        plain = await complete(http, prompt=PROMPT, max_tokens=4)
        hints = {
            "user": "me",
            "metadata": {"a": "b"},
            "store": True,
            "service_tier": "auto",
            "frobnicate": [1],
            "suffix": None,
        }
        hinted = await complete(http, prompt=PROMPT, max_tokens=4, **hints)
    assert plain["choices"] == hinted["choices"]


async def test_stop_strings_end_and_are_cut() -> None:
    async with client() as http:
        body = await complete(http, prompt=PROMPT, max_tokens=50, stop="quick")
        choice = body["choices"][0]
        assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (
            "hello world, the ",
            "stop",
            "quick",
        )
        body = await complete(http, prompt=PROMPT, max_tokens=50, stop=["quick"], include_stop_str_in_output=True)
        assert body["choices"][0]["text"] == "hello world, the quick"


async def test_logprobs_line_up_with_the_text() -> None:
    async with client() as http:
        body = await complete(http, prompt=PROMPT, max_tokens=5, logprobs=2)
    choice = body["choices"][0]
    lists = choice["logprobs"]
    assert "".join(lists["tokens"]) == choice["text"]
    assert lists["token_logprobs"] == [-0.5] * 5
    assert [
        choice["text"][offset:].startswith(token)
        for offset, token in zip(lists["text_offset"], lists["tokens"], strict=True)
    ] == [True] * 5
    assert all(len(top) == 2 for top in lists["top_logprobs"])


async def test_echo_with_logprobs_scores_the_prompt() -> None:
    """What lm-eval sends: the prompt's tokens, one more, and the first one has no score."""
    ids = hf_tokenizer().encode(PROMPT)
    async with client() as http:
        body = await complete(http, prompt=[ids], max_tokens=1, echo=True, logprobs=1)
    choice = body["choices"][0]
    lists = choice["logprobs"]
    assert choice["text"] == PROMPT + "hello"
    assert len(lists["tokens"]) == len(ids) + 1
    assert "".join(lists["tokens"]) == choice["text"]
    assert lists["token_logprobs"] == [None] + [-0.5] * len(ids)
    assert lists["text_offset"][-1] == len(PROMPT)


async def test_echo_of_a_single_token() -> None:
    class Silent(FakeEngine):
        """Sends no prompt_logprobs for a prompt of one token, as the real engine does."""

        def step(self) -> list:
            outputs = super().step()
            for output in outputs:
                output.prompt_logprobs = output.prompt_logprobs or None
            return outputs

    async with client(Silent()) as http:
        body = await complete(http, prompt="hello", max_tokens=1, echo=True, logprobs=0)
    lists = body["choices"][0]["logprobs"]
    assert (lists["tokens"], lists["token_logprobs"], lists["text_offset"]) == (
        ["hello", "hello"],
        [None, -0.5],
        [0, 5],
    )


async def test_prompt_logprobs_and_token_ids_come_when_asked_for() -> None:
    ids = hf_tokenizer().encode(PROMPT)
    async with client() as http:
        body = await complete(http, prompt=PROMPT, max_tokens=2, prompt_logprobs=0, return_token_ids=True)
    choice = body["choices"][0]
    assert choice["prompt_logprobs"][0] is None
    assert [list(position) for position in choice["prompt_logprobs"][1:]] == [[str(token)] for token in ids[1:]]
    assert choice["token_ids"] == ids[:2]
    assert choice["prompt_token_ids"] == ids


async def test_tokens_as_ids() -> None:
    ids = hf_tokenizer().encode(PROMPT)
    async with client() as http:
        body = await complete(http, prompt=PROMPT, max_tokens=2, logprobs=0, return_tokens_as_token_ids=True)
    assert body["choices"][0]["logprobs"]["tokens"] == [f"token_id:{token}" for token in ids[:2]]


async def test_truncation_keeps_the_end() -> None:
    engine = FakeEngine()
    ids = hf_tokenizer().encode(PROMPT)
    async with client(engine) as http:
        for prompt in (PROMPT, ids):
            await complete(http, prompt=prompt, truncate_prompt_tokens=3)
        await complete(http, prompt=PROMPT * 100, truncate_prompt_tokens=-1, max_tokens=10)
    assert [request.prompt_token_ids for request in engine.requests[:2]] == [ids[-3:]] * 2
    assert len(engine.requests[2].prompt_token_ids) == 246


async def test_cache_salt_and_priority_reach_the_engine() -> None:
    engine = FakeEngine()
    async with client(engine, policy="priority") as http:
        await complete(http, prompt=PROMPT, cache_salt="me", priority=-3)
    assert (engine.requests[0].cache_salt, engine.requests[0].priority) == ("me", -3)


@pytest.mark.parametrize(
    "extra", [{}, {"logprobs": 1}, {"echo": True}, {"n": 2}, {"return_token_ids": True}, {"stop": "fox"}]
)
async def test_a_stream_says_the_same_as_one_body(extra: dict) -> None:
    async with client() as http:
        whole = await complete(http, prompt=[PROMPT, "naïve café 🙂"], max_tokens=12, **extra)
        response = await http.post(
            "/v1/completions",
            json={
                "prompt": [PROMPT, "naïve café 🙂"],
                "max_tokens": 12,
                "stream": True,
                "stream_options": {"include_usage": True},
                **extra,
            },
        )
    chunks = events(response.text)
    assert response.text.endswith("data: [DONE]\n\n")
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        mine = [chunk["choices"][0] for chunk in chunks[:-1] if chunk["choices"][0]["index"] == choice["index"]]
        assert "".join(part["text"] for part in mine) == choice["text"]
        assert [part["finish_reason"] for part in mine] == [None] * (len(mine) - 1) + [choice["finish_reason"]]
        if choice["logprobs"]:
            for name, values in choice["logprobs"].items():
                assert [value for part in mine for value in part["logprobs"][name]] == values
        if choice["token_ids"] is not None:
            assert [token for part in mine for token in part["token_ids"]] == choice["token_ids"]


async def test_one_event_per_token_and_running_usage() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    async with client() as http:
        response = await http.post(
            "/v1/completions", json={"prompt": PROMPT, "max_tokens": 5, "stream": True, "stream_options": options}
        )
    chunks = events(response.text)
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [1, 2, 3, 4, 5, 5]
    assert {chunk["usage"]["prompt_tokens"] for chunk in chunks} == {count(PROMPT)}


async def test_usage_comes_only_when_asked_for() -> None:
    async with client() as http:
        response = await http.post("/v1/completions", json={"prompt": PROMPT, "max_tokens": 2, "stream": True})
    assert "usage" not in response.text


async def test_infinite_logprobs_become_numbers() -> None:
    class Minus(FakeEngine):
        def step(self) -> list:
            outputs = super().step()
            for output in outputs:
                for entry in output.logprobs or ():
                    entry.logprob = float("-inf")
            return outputs

    async with client(Minus()) as http:
        response = await http.post("/v1/completions", json={"prompt": PROMPT, "max_tokens": 2, "logprobs": 0})
    assert json.loads(response.text)["choices"][0]["logprobs"]["token_logprobs"] == [-9999.0, -9999.0]
