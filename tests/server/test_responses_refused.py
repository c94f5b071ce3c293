"""/v1/responses: what is refused, by the name of the field."""

from __future__ import annotations

import pytest

from tests.fake_engine import FakeEngine
from tests.server.harness import client

pytestmark = pytest.mark.anyio


MESSAGE = {"role": "user", "content": "hello"}
REFUSED = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 3}, "input"),
    ({"input": [{"role": "nobody", "content": "a"}]}, "input"),
    ({"input": [MESSAGE, {"role": "user"}]}, "input"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input"),
    ({"input": [{"type": "function_call", "name": "f"}]}, "input"),
    ({"input": [{"type": "function_call_output", "call_id": "1"}]}, "input"),
    ({"input": [{"type": "web_search_call"}]}, "input"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
    ({"input": [MESSAGE] * 100_000}, "input"),
    ({"input": "hello " * 10_000}, "input"),
    ({"instructions": 3}, "instructions"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": True}, "max_output_tokens"),
    ({"max_tokens": 5}, "max_tokens"),
    ({"max_tool_calls": 2**31}, "max_tool_calls"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"temperature": 3}, "temperature"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": -2}, "top_logprobs"),
    ({"n": 2}, "n"),
    ({"use_beam_search": True}, "use_beam_search"),
    ({"prompt_logprobs": 1}, "prompt_logprobs"),
    ({"background": True, "store": False}, "background"),
    ({"conversation": "x"}, "conversation"),
    ({"prompt": {"id": "x"}}, "prompt"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"previous_response_id": ""}, "previous_response_id"),
    ({"user": "x" * 10**6}, "user"),
    ({"metadata": {"a": 1}}, "metadata"),
    ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
    ({"reasoning": {"effort": "huge"}}, "reasoning"),
    ({"text": {"format": {"type": "nope"}}}, "text"),
    ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
    ({"tools": [{"type": "custom", "name": "f"}], "tool_choice": {"type": "custom", "name": "f"}}, "tool_choice"),
    ({"tools": [{"type": "custom", "name": "f"}], "tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
    ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]}, "tools"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"tools": "f"}, "tools"),
    ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
    ({"tool_choice": {"type": "allowed_tools", "mode": "never"}}, "tool_choice"),
    ({"truncation": "yes"}, "truncation"),
    ({"include": "x"}, "include"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"seed": 2**63}, "seed"),
    ({"model": "gpt-5"}, "model"),
]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"role": 3}, "input.0.role: Input should be a valid string."),
        ({"role": "user", "content": 3}, "input.0.content must be a text or a list of parts."),
        (
            {"role": "user", "content": [{"type": "x"}]},
            "input.0: a content part of type 'x' is not taken; this model reads text only.",
        ),
    ],
)
async def test_the_sentence_says_which_item_is_wrong(item: dict, message: str) -> None:
    async with client() as http:
        answer = await http.post("/v1/responses", json={"input": [item]})
    assert answer.json()["error"]["message"] == message


@pytest.mark.parametrize(("change", "param"), REFUSED)
async def test_refusals_name_the_field(change: dict, param: str) -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        answer = await http.post("/v1/responses", json={"input": "hello", "max_output_tokens": 2, **change})
        assert answer.status_code == (404 if param == "model" else 400), answer.text
        error = answer.json()["error"]
        assert (error["param"] or "").split(".")[0] == param, error
        assert (await http.get("/v1/responses/x?stream=true")).status_code == 400
    assert not engine.requests
