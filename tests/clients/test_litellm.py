"""litellm, by its OpenAI and its hosted vLLM providers."""

from __future__ import annotations

import os

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # otherwise it asks the network at import

import litellm
import pytest

from tests.clients.capabilities import needs
from tests.clients.conftest import KEY, MODEL

ASKED = {"messages": [{"role": "user", "content": "Add 12 and 30."}], "temperature": 0, "max_tokens": 40}
ANSWER = "12 + 30 = 42"
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


@pytest.fixture(params=["openai", "hosted_vllm"])
def target(request: pytest.FixtureRequest, base_url: str) -> dict[str, str]:
    return {"model": f"{request.param}/{MODEL}", "api_base": base_url, "api_key": KEY}


def test_a_chat(target: dict[str, str]) -> None:
    answer = litellm.completion(**target, **ASKED, logprobs=True, top_logprobs=2, user="u")
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens > answer.usage.completion_tokens > 0


def test_a_stream(target: dict[str, str]) -> None:
    chunks = list(litellm.completion(**target, **ASKED, stream=True, stream_options={"include_usage": True}))
    rebuilt = litellm.stream_chunk_builder(chunks, messages=ASKED["messages"])
    assert rebuilt.choices[0].message.content == ANSWER
    assert rebuilt.usage.completion_tokens > 0


def test_a_completion(base_url: str) -> None:
    answer = litellm.text_completion(
        model=f"text-completion-openai/{MODEL}", api_base=base_url, api_key=KEY, prompt="one two", max_tokens=4
    )
    assert answer.usage.completion_tokens == 4


@pytest.mark.anyio
async def test_asynchronously(target: dict[str, str]) -> None:
    answer = await litellm.acompletion(**target, **ASKED)
    assert answer.choices[0].message.content == ANSWER


@needs("structured")
def test_a_schema(target: dict[str, str]) -> None:
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "sum", "schema": schema, "strict": True}}
    answer = litellm.completion(**target, **ASKED, response_format=wanted)
    assert answer.choices[0].message.content.startswith("{")


@needs("tools", "structured")
def test_a_tool(target: dict[str, str]) -> None:
    chosen = {"type": "function", "function": {"name": "add"}}
    answer = litellm.completion(**target, **ASKED, tools=[TOOL], tool_choice=chosen)
    assert answer.choices[0].message.tool_calls[0].function.name == "add"


def test_errors(target: dict[str, str]) -> None:
    with pytest.raises(litellm.BadRequestError, match="temperature"):
        litellm.completion(**target, **{**ASKED, "temperature": 3}, num_retries=0)
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(**{**target, "api_key": "wrong"}, **ASKED, num_retries=0)
