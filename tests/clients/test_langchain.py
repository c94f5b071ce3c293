"""langchain-openai."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel

from tests.clients.capabilities import needs
from tests.clients.conftest import KEY, MODEL

QUESTION, ANSWER = "Add 12 and 30.", "12 + 30 = 42"


class Sum(BaseModel):
    """A sum."""

    sum: int


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
def chat(base_url: str) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, base_url=base_url, api_key=KEY, temperature=0, max_tokens=60, max_retries=0)


def test_a_chat(chat: ChatOpenAI) -> None:
    answer = chat.invoke([("system", "Be kind."), ("user", QUESTION)])
    assert answer.content == ANSWER
    assert answer.usage_metadata["total_tokens"] > 0


def test_a_stream(chat: ChatOpenAI) -> None:
    chunks = list(chat.stream(QUESTION, stream_usage=True))
    assert "".join(chunk.content for chunk in chunks) == ANSWER
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) > 0


def test_a_batch(chat: ChatOpenAI) -> None:
    answers = chat.batch([QUESTION, "Add 1 and 2."])
    assert answers[0].content == ANSWER
    assert "3" in answers[1].content


def test_a_completion(base_url: str) -> None:
    model = OpenAI(model=MODEL, base_url=base_url, api_key=KEY, temperature=0, max_tokens=8, max_retries=0)
    assert model.invoke("one two") == "".join(model.stream("one two"))


@pytest.mark.parametrize(
    ("method", "marks"),
    [
        pytest.param("json_schema", None, marks=needs("structured")),
        pytest.param("json_mode", None, marks=needs("structured")),
        pytest.param("function_calling", None, marks=needs("structured", "tools")),
    ],
)
def test_structured_output(chat: ChatOpenAI, method: Any, marks: None) -> None:
    answer = chat.with_structured_output(Sum, method=method, include_raw=True).invoke(QUESTION)
    if method == "json_mode":  # any JSON object: the model knows no schema
        assert answer["raw"].content.startswith("{")
    else:
        assert isinstance(answer["parsed"], Sum)


@needs("tools", "structured")
def test_a_bound_tool(chat: ChatOpenAI) -> None:
    answer = chat.bind_tools([add], tool_choice="add", parallel_tool_calls=False).invoke(QUESTION)
    (call,) = answer.tool_calls
    assert call["name"] == "add"
    assert set(call["args"]) == {"a", "b"}
