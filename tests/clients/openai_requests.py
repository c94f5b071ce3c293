"""What openai-python is asked: fields of chats and completions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.capabilities import needs
from tests.clients.conftest import MODEL

QUESTION = [{"role": "user", "content": "Add 12 and 30."}]
ANSWER = "12 + 30 = 42"
GREEDY = {"model": MODEL, "temperature": 0}
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA, "strict": True}}
HINTS = {
    "user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "prompt_cache_key": "k",
    "safety_identifier": "s", "verbosity": "low", "extra_body": {"unknown": 1},
}  # fmt: skip

# What a chat may ask for, beside messages, model and temperature. All of it leaves a deterministic answer.
CHATS: list[Any] = [
    {},
    {"max_tokens": 3},
    {"max_completion_tokens": 3},
    {"temperature": 1.0, "seed": 7, "n": 3},
    {"temperature": 0.7, "top_p": 0.9, "seed": 7},
    {"logprobs": True},
    {"logprobs": True, "top_logprobs": 3},
    {"stop": " ="},
    {"stop": ["=", "zzz"]},
    {"presence_penalty": 0.5, "frequency_penalty": -0.5},
    {"logit_bias": {"5": -100}},
    {"response_format": {"type": "text"}},
    {"reasoning_effort": "low"},
    HINTS,
    {"extra_body": {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "seed": 3}, "temperature": 1.0},
    {"extra_body": {"return_token_ids": True, "add_generation_prompt": True}},
    pytest.param({"response_format": FORMAT}, marks=needs("structured")),
    pytest.param({"response_format": {"type": "json_object"}}, marks=needs("structured")),
    pytest.param({"extra_body": {"structured_outputs": {"choice": ["yes", "no"]}}}, marks=needs("structured")),
    pytest.param({"extra_body": {"structured_outputs": {"regex": "[0-9]{3}"}}}, marks=needs("structured")),
    pytest.param({"tools": [TOOL]}, marks=needs("tools")),
    pytest.param({"tools": [TOOL], "tool_choice": "none"}, marks=needs("tools")),
    pytest.param(
        {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}, marks=needs("tools", "structured")
    ),
    pytest.param(
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "add"}}},
        marks=needs("tools", "structured"),
    ),
]
COMPLETIONS: list[dict[str, Any]] = [
    {},
    {"prompt": ["hello", "world"]},
    {"prompt": [5, 6, 7]},
    {"prompt": [[5, 6], [7]]},
    {"n": 2, "temperature": 1.0, "seed": 1},
    {"logprobs": 2},
    {"echo": True},
    {"echo": True, "logprobs": 1, "max_tokens": 1},
    {"stop": ["a"]},
    {"suffix": None, "best_of": 1},
    {"presence_penalty": 1.0, "logit_bias": {"5": 1}, "user": "u"},
]
