"""An engine that says what a test wrote, a parser that finds reasoning and calls in it, and clients of that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import openai

from jaxpaged.async_llm import AsyncLLM
from jaxpaged.config import EngineConfig, ModelConfig
from jaxpaged.frontend.generation_config import GenerationConfig
from server.answers.assistant import AssistantDelta, ToolCallDelta
from server.app import build_app
from server.flags import ServerOptions
from tests.fake_engine import FakeEngine
from tests.server.harness import MODEL, LocalClient, front_end
from tests.text.samples import EOS, hf_tokenizer


def saying(text: str, **arguments) -> FakeEngine:
    """An engine that answers everything with `text` and then stops."""
    tokenizer = hf_tokenizer()
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.convert_tokens_to_ids(EOS)]
    return FakeEngine(lambda request: ids, **arguments)


def stopping_llm(engine: FakeEngine) -> AsyncLLM:
    """As harness.async_llm(), with an end-of-sequence token."""
    eos = hf_tokenizer().convert_tokens_to_ids(EOS)
    end = replace(front_end(), generation=GenerationConfig((eos,), {}))
    return AsyncLLM.from_client(LocalClient(engine), end, EngineConfig(ModelConfig(served_model_name=MODEL)))


class ToyParser:
    """`[why]` is reasoning and `{name arguments}` a call, whose arguments are shown as a JSON text; no nesting."""

    def __init__(self) -> None:
        self._state = "content"
        self._name = ""
        self._calls = -1
        self._at = 0
        self.thoughts: list[tuple[int, int | None]] = []

    def feed(self, text: str) -> AssistantDelta:
        total = AssistantDelta()
        for character in text:
            total = _sum(total, self._step(character))
        return total

    def end(self) -> AssistantDelta:
        return AssistantDelta()

    def _step(self, character: str) -> AssistantDelta:
        self._at += 1
        match self._state, character:
            case "content", "[":
                self._state = "reasoning"
                self.thoughts.append((self._at, None))
            case "content", "{":
                self._state, self._name = "name", ""
            case "reasoning", "]":
                self._state = "content"
                self.thoughts[-1] = (self.thoughts[-1][0], self._at - 1)
            case "name", " ":
                self._state, self._calls = "arguments", self._calls + 1
                call = ToolCallDelta(self._calls, f"call_{self._calls}", self._name, '{"a": "')
                return AssistantDelta(tool_calls=(call,))
            case "arguments", "}":
                self._state = "content"
                return AssistantDelta(tool_calls=(ToolCallDelta(self._calls, arguments='"}'),))
            case "name", _:
                self._name += character
            case "reasoning", _:
                return AssistantDelta(reasoning=character)
            case "arguments", _:
                return AssistantDelta(tool_calls=(ToolCallDelta(self._calls, arguments=character),))
            case _:
                return AssistantDelta(content=character)
        return AssistantDelta()


def _sum(first: AssistantDelta, then: AssistantDelta) -> AssistantDelta:
    return AssistantDelta(
        first.reasoning + then.reasoning, first.content + then.content, first.tool_calls + then.tool_calls
    )


@asynccontextmanager
async def openai_client(
    engine: FakeEngine, options: ServerOptions | None = None, *, key: str = "key"
) -> AsyncIterator[openai.AsyncOpenAI]:
    """openai-python, strictly validating, in front of the application in this process."""
    llm = stopping_llm(engine)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(build_app(llm, options))) as http:
        yield openai.AsyncOpenAI(
            base_url="http://test/v1",
            api_key=key,
            max_retries=0,
            http_client=http,
            _strict_response_validation=True,
        )
    llm.shutdown()


def prompt_of(engine: FakeEngine, index: int = -1) -> str:
    """What the engine was asked."""
    return hf_tokenizer().decode(engine.requests[index].prompt_token_ids)
