"""What a request can get wrong: each answer is a 4xx in one shape that names the field, and others are left alone.

The numbers are the rows of the reliability table that these routes go through.
"""

from __future__ import annotations

import json
import re
import time

import httpx
import pytest

from tests.fake_engine import FakeEngine
from tests.server.harness import MODEL, client

pytestmark = pytest.mark.anyio
CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
COMPLETION = {"prompt": "hello world", "max_tokens": 2}
BIG = 10**400
INSIDE = re.compile(r"0x[0-9a-f]{6,}|/home|/work|site-packages|Traceback|\.py")

# fields that both dialects refuse: (what, param named in the error)
SAMPLING = [
    ({"temperature": "0.5"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": "3"}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 2**31}, "max_tokens"),
    ({"max_tokens": 2**63}, "max_tokens"),
    ({"seed": 2**63}, "seed"),
    ({"seed": -(2**63) - 1}, "seed"),
    ({"seed": BIG}, "seed"),
    ({"top_k": 2**64}, "top_k"),
    ({"top_k": -2}, "top_k"),
    ({"top_p": 0}, "top_p"),
    ({"top_p": -1}, "top_p"),
    ({"top_p": 1.01}, "top_p"),
    ({"min_p": -1}, "min_p"),
    ({"min_p": 2}, "min_p"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"frequency_penalty": -2.1}, "frequency_penalty"),
    ({"n": 0}, "n"),
    ({"n": -1}, "n"),
    ({"n": 129}, "n"),
    ({"n": 2**31}, "n"),
    ({"n": 2, "temperature": 0}, "n"),
    ({"best_of": 10**6}, "best_of"),
    ({"stop": [f"stop {i}" for i in range(10_000)]}, "stop"),
    ({"stop": ""}, "stop"),
    ({"stop": ["a", 3]}, "stop"),
    ({"bad_words": ["a"] * 3 + [f"w{i}" for i in range(10**5)]}, "bad_words"),
    ({"logit_bias": {str(i): 1.0 for i in range(2000)}}, "logit_bias"),
    ({"logit_bias": {"x": 1.0}}, "logit_bias"),
    ({"logit_bias": {"1": "2"}}, "logit_bias"),
    ({"logit_bias": {"512": 1.0}}, "logit_bias"),
    ({"logit_bias": {"-1": 1.0}}, "logit_bias"),
    ({"allowed_token_ids": []}, "allowed_token_ids"),
    ({"allowed_token_ids": list(range(10**5))}, "allowed_token_ids"),
    ({"allowed_token_ids": [512]}, "allowed_token_ids"),
    ({"stop_token_ids": [512], "min_tokens": 2}, "stop_token_ids"),
    ({"stop_token_ids": [-1]}, "stop_token_ids"),
    ({"stop_token_ids": [True]}, "stop_token_ids"),
    ({"min_tokens": 3}, "min_tokens"),
    ({"min_tokens": 10**6, "max_tokens": None}, "min_tokens"),
    ({"prompt_logprobs": -2}, "prompt_logprobs"),
    ({"prompt_logprobs": 21}, "prompt_logprobs"),
    ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
    ({"logprob_token_ids": list(range(129))}, "logprob_token_ids"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": "yes"}, "stream"),
    ({"cache_salt": ""}, "cache_salt"),
    ({"cache_salt": "x" * 10**6}, "cache_salt"),
    ({"priority": 1}, "priority"),
    ({"priority": 2**63}, "priority"),
    ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
    ({"response_format": "json_object"}, "response_format"),
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"structured_outputs": {"json": []}}, "structured_outputs"),
    ({"use_beam_search": True, "stream": True}, "stream"),
    ({"use_beam_search": True, "n": 0}, "n"),
    ({"use_beam_search": True, "n": 129}, "n"),
    ({"use_beam_search": True, "n": 11}, "beam_width"),  # max_logprobs is 20
    ({"use_beam_search": True, "n": 2, "stop": "a"}, "stop"),
    ({"use_beam_search": True, "n": 2, "top_p": 0.5}, "top_p"),
    ({"use_beam_search": True, "n": 2, "logit_bias": {"5": 1}}, "logit_bias"),
    ({"use_beam_search": True, "n": 2, "min_tokens": 2}, "min_tokens"),
    ({"use_beam_search": True, "length_penalty": "1"}, "length_penalty"),
    ({"use_beam_search": "yes"}, "use_beam_search"),
    ({"length_penalty": 2.0}, "length_penalty"),
    ({"prompt_embeds": "AAAA"}, "prompt_embeds"),
    ({"kv_transfer_params": {}}, "kv_transfer_params"),
    ({"model": "../../etc"}, "model"),
]
COMPLETIONS = [
    ({"prompt": None}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": ["a", 1]}, "prompt"),
    ({"prompt": ["a"] * 100_000}, "prompt"),
    ({"prompt": ["a"] * 1000, "n": 100}, "n"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": [512]}, "prompt"),
    ({"prompt": [2**31]}, "prompt"),
    ({"prompt": [2**32 + 5]}, "prompt"),
    ({"prompt": [1.5]}, "prompt"),
    ({"prompt": [True]}, "prompt"),
    ({"prompt": [5] * 256}, "prompt"),
    ({"prompt": "hello " * 10_000}, "prompt"),
    ({"logprobs": -2}, "logprobs"),
    ({"logprobs": 21}, "logprobs"),
    ({"logprobs": True}, "logprobs"),
    ({"suffix": "end"}, "suffix"),
]
CHATS = [
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": [{"content": "no role"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
    ({"messages": [{"role": "user", "content": "a"}] * 100_000}, "messages"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": 1}, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "logprobs"),
    ({"tools": [{"type": "function", "function": {"name": "../x"}}]}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),  # the template knows no calls
    ({"tool_choice": "required"}, "tool_choice"),
    ({"chat_template": "{{ ''.__class__ }}"}, "chat_template"),
    ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs"),
    ({"chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs"),
    ({"add_generation_prompt": True, "continue_final_message": True}, "continue_final_message"),
    ({"echo": 1}, "echo"),
    ({"reasoning_effort": "huge"}, "reasoning_effort"),
]


def assert_error(response: httpx.Response, status: int, param: str | None = None) -> dict:
    assert response.status_code == status, response.text[:500]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert len(response.content) < 4096
    assert not INSIDE.search(response.text), response.text
    if param is not None:
        assert (error["param"] or "").split(".")[0] == param.split(".")[0], error
    return error


async def assert_alive(http: httpx.AsyncClient, engine: FakeEngine) -> None:
    """Nothing is left behind, and the next request is served."""
    assert not engine.has_work()
    assert (await http.get("/health")).status_code == 200
    response = await http.post("/v1/completions", json=COMPLETION)
    assert response.json()["choices"][0]["text"] == "hello world"


async def assert_refused(path: str, base: dict, cases: list[tuple[dict, str]]) -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        for change, param in cases:
            body = {name: value for name, value in {**base, **change}.items() if name != "drop"}
            began = time.process_time()
            response = await http.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
            assert_error(response, 404 if param == "model" else 400, param)
            assert time.process_time() - began < 2
        await assert_alive(http, engine)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prompt": ["a", 1]}, "prompt must be a text, a list of token ids, or a list of either."),
        ({"prompt": None}, "prompt must be a text, a list of token ids, or a list of either."),
        ({"stop": ["a", 3]}, "stop must be a text or a list of texts."),
        ({"prompt": [[1], ["a"]]}, "prompt must be a text, a list of token ids, or a list of either."),
        ({"logit_bias": {"x": 1}}, "logit_bias has the key 'x', which is no token id."),
    ],
)
async def test_the_sentence_says_what_may_be_given(body, message) -> None:
    async with client() as http:
        answer = await http.post("/v1/completions", json={**COMPLETION, **body})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)


async def test_completions_refuse() -> None:
    await assert_refused("/v1/completions", COMPLETION, SAMPLING + COMPLETIONS)


async def test_chats_refuse() -> None:
    await assert_refused("/v1/chat/completions", CHAT, SAMPLING + CHATS)


async def test_what_sits_on_the_edge_is_served() -> None:
    fine = [
        {"temperature": 1e-320},
        {"repetition_penalty": 1e38},
        {"seed": 2**63 - 1},
        {"seed": None, "logprobs": None, "stop": None},
        {"n": 1, "best_of": 1},
        {"response_format": {"type": "text"}},
        {"model": MODEL},
        {"prompt": [5] * 255, "max_tokens": 100},
        {"prompt": "a\x00b"},
        {"prompt": "👩‍👧 \u202e"},
        {"min_tokens": 5, "max_tokens": None},
    ]
    async with client() as http:
        for change in fine:
            response = await http.post("/v1/completions", json={**COMPLETION, **change})
            assert response.status_code == 200, (change, response.text)
        body = {**COMPLETION, "prompt": [5] * 255, "max_tokens": 100}
        choice = (await http.post("/v1/completions", json=body)).json()["choices"][0]
        assert choice["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_an_error_about_the_context_says_what_clients_look_for(path: str, stream: bool) -> None:
    said = [{"role": "user", "content": "hello " * 300}]
    field = {"/v1/completions": {"prompt": "hello " * 300}, "/v1/responses": {"input": said}}
    async with client(FakeEngine()) as http:
        response = await http.post(
            path, json={**field.get(path, {"messages": said}), "max_tokens": 5, "stream": stream}
        )
        if path == "/v1/responses":
            response = await http.post(path, json={**field[path], "stream": stream})
    error = response.json()["error"]
    assert response.status_code == 400
    assert "maximum context length is 256 tokens" in error["message"]
    assert path == "/v1/messages" or error["code"] == "context_length_exceeded"
