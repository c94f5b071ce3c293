"""Reasoning and tools over HTTP with the bundled model in an engine process of its own."""

from __future__ import annotations

import asyncio

import pytest

from jaxpaged import AsyncLLM
from tests.bundled.sizes import CONFIG
from tests.server.harness import client, events

PATH = "/v1/chat/completions"
# the model's own template, but every answer begins within a block of reasoning, and calls are Hermes'
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
    "{% if enable_thinking is not defined or enable_thinking %}<think>{% else %}</think>{% endif %}{# <tool_call> #}"
)
FORM = {"structured_outputs": {"choice": ["yes", "no"]}}
TOOLS = [{"type": "function", "function": {"name": "now"}}]


@pytest.mark.timeout(600)
def test_the_bundled_model_thinks() -> None:
    llm = AsyncLLM(CONFIG, chat_template=TEMPLATE, progress=False)
    message = {"role": "user", "content": "What is 3 + 4?"}
    body = {"messages": [message], "temperature": 0, "max_tokens": 24, "tools": TOOLS}

    async def scenario() -> None:
        async with client(llm=llm) as http:
            thought, streamed, calm, plain, formed, formed_calm = await asyncio.gather(
                http.post(PATH, json=body),
                http.post(PATH, json={**body, "stream": True}),
                http.post(PATH, json={**body, "reasoning_effort": "none"}),
                http.post(PATH, json={**body, "tool_choice": "none", "include_reasoning": False}),
                http.post(PATH, json={**body, **FORM}),
                http.post(PATH, json={**body, **FORM, "reasoning_effort": "none"}),
            )
        answers = [answer.json()["choices"][0]["message"] for answer in (thought, calm, plain)]
        assert answers[0]["reasoning"]
        assert answers[0]["content"] == ""
        deltas = [chunk["choices"][0]["delta"] for chunk in events(streamed.text)]
        assert "".join(delta.get("reasoning", "") for delta in deltas) == answers[0]["reasoning"]
        assert answers[1]["reasoning"] is None
        assert answers[1]["content"]
        assert answers[2]["content"] == ""
        assert "reasoning" not in answers[2]
        choices = [answer.json()["choices"][0] for answer in (formed, formed_calm)]
        assert choices[0]["message"]["reasoning"].startswith(answers[0]["reasoning"])  # it must end the thought first
        assert choices[1]["message"]["content"] in ("yes", "no")

    try:
        asyncio.run(scenario())
    finally:
        llm.shutdown()
