"""Prompts as the model sees them, and tokens in, tokens out: what is rendered generates as the route itself would."""

from __future__ import annotations

import json

import pytest

from server.flags import ServerOptions
from tests.fake_engine import FakeEngine
from tests.server.harness import MODEL, client, events
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio
MESSAGES = [{"role": "user", "content": "hello world"}]
GENERATE = "/inference/v1/generate"
SAMPLING = {"max_tokens": 3, "temperature": 0.5, "seed": 7, "stop": ["nothing"], "logit_bias": {"5": 1.0}, "top_k": 9}


async def test_a_chat_is_rendered_as_it_is_answered() -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        rendered = (await http.post("/v1/chat/completions/render", json={"messages": MESSAGES, **SAMPLING})).json()
        tokens = (await http.post("/tokenize", json={"messages": MESSAGES})).json()["tokens"]
        assert not engine.requests
        assert (rendered["token_ids"], rendered["features"], rendered["model"]) == (tokens, None, MODEL)
        assert rendered["request_id"].startswith("chatcmpl-")
        await http.post("/v1/chat/completions", json={"messages": MESSAGES, **SAMPLING})
        answered = (await http.post(GENERATE, json=rendered)).json()
    first, second = engine.requests
    assert first.prompt_token_ids == second.prompt_token_ids == tokens
    assert first.params.logit_bias == second.params.logit_bias == {5: 1.0}
    assert (second.params.max_tokens, second.params.seed, second.params.stop) == (3, 7, ["nothing"])
    assert answered["choices"][0]["token_ids"] == tokens[:3]
    assert answered["request_id"] == rendered["request_id"]


async def test_each_prompt_of_a_completion_is_rendered() -> None:
    tokenizer = hf_tokenizer()
    body = {"prompt": ["hello", "hello world"], "max_tokens": 4, "cache_salt": "s", "stream": True}
    async with client() as http:
        rendered = (await http.post("/v1/completions/render", json=body)).json()
        assert [one["token_ids"] for one in rendered] == [tokenizer.encode(text) for text in body["prompt"]]
        assert [one["sampling_params"]["max_tokens"] for one in rendered] == [4, 4]
        assert {(one["cache_salt"], one["stream"]) for one in rendered} == {("s", True)}
        refused = await http.post("/v1/completions/render", json={"prompt": "a", "use_beam_search": True})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "use_beam_search")
        assert (await http.post("/v1/completions/render", json={**body, "model": "x"})).status_code == 404
        assert (await http.post("/v1/completions/render", json={**body, "top_p": 7})).status_code == 400


async def test_structured_outputs_survive() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    engine = FakeEngine()
    async with client(engine) as http:
        body = {"messages": MESSAGES, "response_format": form, "max_tokens": 2}
        rendered = (await http.post("/v1/chat/completions/render", json=body)).json()
        assert rendered["sampling_params"]["structured_outputs"] == {"json": schema}
        assert (await http.post(GENERATE, json=rendered)).status_code == 200
    assert engine.requests[0].params.structured_outputs.schema() == schema


async def test_tokens_in_tokens_out() -> None:
    async with client() as http:
        body = {"token_ids": [5, 6], "sampling_params": {"max_tokens": 3, "logprobs": 2, "prompt_logprobs": 0, "n": 2}}
        answer = (await http.post(GENERATE, json={**body, "request_id": "mine"})).json()
        assert (answer["request_id"], [one["token_ids"] for one in answer["choices"]]) == ("mine", [[5, 6, 5]] * 2)
        entry = answer["choices"][0]["logprobs"]["content"][0]
        assert (entry["token"], len(entry["top_logprobs"])) == ("token_id:5", 2)
        assert [None if one is None else list(one) for one in answer["prompt_logprobs"]] == [None, ["6"]]
        assert answer["usage"]["completion_tokens"] == 6
        body = {"token_ids": [5, 6], "sampling_params": {"max_tokens": 3}, "stream": True}
        text = (await http.post(GENERATE, json={**body, "stream_options": {"include_usage": True}})).text
    *chunks, last = events(text)
    assert [token for chunk in chunks for token in chunk["choices"][0]["token_ids"]] == [5, 6, 5]
    assert (chunks[-1]["choices"][0]["finish_reason"], last["choices"]) == ("length", [])
    assert last["usage"]["total_tokens"] == 5
    assert text.endswith("data: [DONE]\n\n")


async def test_without_max_tokens_the_context_is_the_limit() -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        assert (await http.post(GENERATE, json={"token_ids": [5], "sampling_params": {}})).status_code == 200
        neutral = {"max_tokens": None, "watermarking": None, "flat_logprobs": False, "output_kind": 0, "seed": None}
        assert (await http.post(GENERATE, json={"token_ids": [5], "sampling_params": neutral})).status_code == 200
    assert {request.params.max_tokens for request in engine.requests} == {255}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"token_ids": []}, "token_ids"),
        ({"token_ids": [512]}, "token_ids"),
        ({"token_ids": [-1]}, "token_ids"),
        ({"token_ids": ["a"]}, "token_ids.0"),
        ({"token_ids": [5] * 256}, "token_ids"),
        ({"features": {"mm_hashes": {}}}, "features"),
        ({"kv_transfer_params": {"do_remote_prefill": True}}, "kv_transfer_params"),
        ({"sampling_params": {"temperature": 3}}, "sampling_params.temperature"),
        ({"sampling_params": {"temperature": "hot"}}, "sampling_params.temperature"),
        ({"sampling_params": {"n": 2**70}}, "sampling_params.n"),
        ({"sampling_params": {"stop_token_ids": [10**6]}}, "sampling_params.stop_token_ids"),
        ({"sampling_params": {"allowed_token_ids": list(range(5000))}}, "sampling_params.allowed_token_ids"),
        ({"sampling_params": {"structured_outputs": {"regex": "["}}}, "sampling_params.structured_outputs"),
        ({"sampling_params": {"prompt": [1]}}, "sampling_params.prompt"),
        ({"sampling_params": {"stream": True}}, "sampling_params.stream"),
        ({"sampling_params": {"future": {"a": 1}}}, "sampling_params.future"),
        ({"sampling_params": []}, "sampling_params"),
        ({"sampling_params": None}, "sampling_params"),
        ({"request_id": ""}, "request_id"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
async def test_a_mistake_is_400_and_names_the_field(change: dict, param: str) -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        body = {"token_ids": [5], "sampling_params": {"max_tokens": 2}, **change}
        answer = await http.post(GENERATE, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert not engine.requests


async def test_invocations_go_where_their_fields_belong() -> None:
    async with client() as http:
        chat = await http.post("/invocations", json={"messages": MESSAGES, "max_tokens": 2})
        assert chat.json()["object"] == "chat.completion"
        completion = await http.post("/invocations", json={"prompt": "hello", "max_tokens": 2})
        assert completion.json()["object"] == "text_completion"
        assert "[DONE]" in (await http.post("/invocations", json={"prompt": "hello", "stream": True})).text
        for body in ({"input": "a"}, {"text_1": "a", "text_2": "b"}, {"query": "a", "documents": ["b"]}):
            assert (await http.post("/invocations", json=body)).json()["error"]["code"] == "model_kind_not_supported"
        assert (await http.post("/invocations", json={"query": "a"})).status_code == 400
        assert (await http.post("/invocations", json={"messages": 3, "prompt": "a"})).status_code == 400


async def test_tokenizer_info_only_where_it_is_asked_for() -> None:
    async with client() as http:
        assert (await http.get("/tokenizer_info")).status_code == 404
    async with client(None, ServerOptions(tokenizer_info=True)) as http:
        info = (await http.get("/tokenizer_info")).json()
    assert info["chat_template"] == hf_tokenizer().chat_template
    assert info["tokenizer_class"]
    assert "/" not in json.dumps({name: value for name, value in info.items() if name != "chat_template"}).replace(
        "</", ""
    )
