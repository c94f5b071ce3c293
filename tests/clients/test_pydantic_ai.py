"""pydantic-ai: agents with text, structured and tool output."""

from __future__ import annotations

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.capabilities import needs
from tests.clients.conftest import KEY, MODEL

QUESTION, ANSWER = "Add 12 and 30.", "12 + 30 = 42"
SETTINGS = {"temperature": 0.0, "max_tokens": 60}


class Sum(BaseModel):
    """A sum."""

    sum: int


@pytest.fixture
def model(base_url: str) -> OpenAIChatModel:
    return OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=base_url, api_key=KEY))


def test_text(model: OpenAIChatModel) -> None:
    result = Agent(model, instructions="Be kind.", model_settings=SETTINGS).run_sync(QUESTION)
    assert result.output == ANSWER
    assert result.usage.output_tokens > 0


def test_a_second_turn(model: OpenAIChatModel) -> None:
    agent = Agent(model, model_settings=SETTINGS)
    first = agent.run_sync("Hello")
    assert "42" in agent.run_sync(QUESTION, message_history=first.all_messages()).output


@pytest.mark.anyio
async def test_a_stream(model: OpenAIChatModel) -> None:
    async with Agent(model, model_settings=SETTINGS).run_stream(QUESTION) as result:
        deltas = [delta async for delta in result.stream_text(delta=True, debounce_by=None)]
    assert "".join(deltas) == ANSWER


@needs("structured")
def test_native_output(model: OpenAIChatModel) -> None:
    agent = Agent(model, output_type=NativeOutput(Sum), model_settings=SETTINGS)
    assert isinstance(agent.run_sync(QUESTION).output, Sum)


@needs("tools", "structured")
def test_tool_output(model: OpenAIChatModel) -> None:
    agent = Agent(model, output_type=ToolOutput(Sum), model_settings=SETTINGS)
    assert isinstance(agent.run_sync(QUESTION).output, Sum)
