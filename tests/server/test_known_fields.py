"""Every request field that vLLM knows is served, ignored as a hint, or refused by its name; others are logged once."""

from __future__ import annotations

import logging

import pytest

from jaxpaged.params.ranges import NOT_YET
from jaxpaged.sampling_params import SamplingParams
from server.messages.schema import MessagesRequest
from server.openai import known_fields
from server.openai.known_fields import HINTS, UNSERVED
from server.openai.schema import ChatRequest, CompletionRequest
from server.responses.schema import ResponsesRequest
from tests.fake_engine import FakeEngine
from tests.server.harness import client

pytestmark = pytest.mark.anyio
SHARED = (
    "model frequency_penalty logit_bias max_tokens n presence_penalty seed stop stream stream_options temperature "
    "top_p user use_beam_search top_k min_p repetition_penalty watermarking length_penalty stop_token_ids "
    "include_stop_str_in_output ignore_eos min_tokens skip_special_tokens spaces_between_special_tokens "
    "truncate_prompt_tokens truncation_side allowed_token_ids prompt_logprobs logprob_token_ids bad_words "
    "add_special_tokens response_format structured_outputs priority request_id session_id return_tokens_as_token_ids "
    "return_token_ids routed_experts_prompt_start return_token_offsets return_mm_kwargs cache_salt kv_transfer_params "
    "ec_transfer_params vllm_xargs repetition_detection thinking_token_budget stream_interval logprobs echo"
).split()
# vLLM's fields by request, as its newest protocol files have them, and what older ones had
KNOWN = {
    CompletionRequest: [*SHARED, *"prompt suffix prompt_embeds best_of logits_processors early_stopping".split()],
    ChatRequest: [
        *SHARED,
        *"messages top_logprobs max_completion_tokens tools tool_choice reasoning_effort include_reasoning "
        "parallel_tool_calls add_generation_prompt continue_final_message documents chat_template chat_template_kwargs "
        "media_io_kwargs mm_processor_kwargs return_prompt_text logits_processors guided_decoding_backend".split(),
    ],
    ResponsesRequest: (
        "background include input instructions max_output_tokens max_tool_calls metadata model logit_bias "
        "parallel_tool_calls previous_response_id prompt reasoning service_tier store stream temperature text "
        "tool_choice tools top_logprobs top_p top_k truncation user skip_special_tokens include_stop_str_in_output "
        "prompt_cache_key request_id mm_processor_kwargs priority cache_salt enable_response_messages "
        "previous_input_messages previous_response structured_outputs repetition_penalty seed stop ignore_eos "
        "vllm_xargs"
    ).split(),
    MessagesRequest: (
        "model messages max_tokens metadata output_config stop_sequences stream system temperature tool_choice tools "
        "top_k top_p kv_transfer_params chat_template_kwargs output_format"
    ).split(),
}
MESSAGES = [{"role": "user", "content": "hello"}]
BODIES = {
    "/v1/completions": {"prompt": "hello"},
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 4},
    "/v1/responses": {"input": "hello", "max_output_tokens": 4},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 4},
}


@pytest.mark.parametrize("request_type", KNOWN, ids=lambda kind: kind.__name__)
def test_nothing_that_vllm_knows_is_unknown(request_type) -> None:
    assert set(KNOWN[request_type]) - request_type.model_fields.keys() - HINTS == set()
    assert not HINTS & request_type.model_fields.keys() - {"user", "metadata", "store"}


def test_sampling_params_over_http_are_served_or_refused() -> None:
    inside = {"detokenize", "output_kind", "flat_logprobs", "skip_reading_prefix_cache", "_bad_words_token_ids"}
    fields = set(SamplingParams.__dataclass_fields__) - inside
    assert fields - CompletionRequest.model_fields.keys() == set()
    assert NOT_YET.keys() - inside <= UNSERVED.keys()


@pytest.mark.parametrize(
    ("name", "value", "paths"),
    [
        *((name, True, "/v1/completions /v1/chat/completions /v1/responses /v1/messages") for name in
          ("watermarking", "return_token_offsets", "early_stopping")),
        ("routed_experts_prompt_start", 3, "/v1/completions /v1/chat/completions"),
        ("trace_decode_token_ids", [1], "/v1/completions /v1/chat/completions"),
        ("ec_transfer_params", {"a": 1}, "/v1/completions /v1/chat/completions"),
        ("logits_processors", ["x"], "/v1/completions /v1/chat/completions"),
        ("return_prompt_text", True, "/v1/chat/completions"),
        ("media_io_kwargs", {"image": {}}, "/v1/chat/completions"),
        ("previous_response", {"id": "x"}, "/v1/responses"),
        ("previous_input_messages", [{}], "/v1/responses"),
        ("enable_response_messages", True, "/v1/responses"),
        ("output_format", {"type": "json_schema"}, "/v1/messages"),
    ],
)  # fmt: skip
async def test_what_would_change_the_answer_is_refused_by_name(name: str, value, paths: str) -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        for path in paths.split():
            error = (await http.post(path, json={**BODIES[path], name: value})).json()["error"]
            assert error["message"].removeprefix(f"{name}: ").startswith(f"{name} is "), path
        assert not engine.requests
        for path in paths.split():  # a value that asks for nothing is no wish
            assert (await http.post(path, json={**BODIES[path], name: None})).status_code == 200
    assert len(engine.requests) == len(paths.split())


@pytest.mark.parametrize("path", BODIES)
async def test_hints_are_silent_and_strangers_are_logged_once(path: str, caplog) -> None:
    name = f"frobnicate_{path[4:]}\n"
    hints = {"service_tier": "auto", "safety_identifier": "x", "request_id": "r"}
    with caplog.at_level(logging.INFO, logger="jaxpaged.server"):
        async with client() as http:
            for _ in range(2):
                assert (await http.post(path, json={**BODIES[path], **hints, name: 1})).status_code == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "jaxpaged.server"]
    assert lines == [f"the field {name!r} is not known and is ignored in requests"]


async def test_names_that_clients_make_up_do_not_fill_the_log(caplog, monkeypatch: pytest.MonkeyPatch) -> None:
    known_fields._tell.cache_clear()
    monkeypatch.setattr(known_fields, "MAX_TOLD", 5)
    with caplog.at_level(logging.INFO, logger="jaxpaged.server"):
        async with client() as http:
            for number in range(20):
                body = {"prompt": "hello", f"made_up_{number}": 1}
                assert (await http.post("/v1/completions", json=body)).status_code == 200
    assert len([record for record in caplog.records if "made_up" in record.getMessage()]) == 5


async def test_a_request_may_ask_for_tokens_in_larger_pieces() -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        await http.post("/v1/completions", json={"prompt": "hello", "stream": True, "stream_interval": 5})
        refused = await http.post("/v1/completions", json={"prompt": "hello", "stream_interval": 0})
    assert engine.requests[0].params.stream_interval == 5
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream_interval")
