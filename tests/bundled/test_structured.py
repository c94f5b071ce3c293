"""Structured output over HTTP with the bundled model in an engine process of its own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from jaxpaged import AsyncLLM
from tests.bundled.sizes import CONFIG
from tests.server.harness import client, events

SCHEMA = {
    "type": "object",
    "properties": {"sum": {"type": "integer"}, "sure": {"type": "boolean"}},
    "required": ["sum", "sure"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA, "strict": True}}


def chat(**more: Any) -> dict[str, Any]:
    message = {"role": "user", "content": "What is 3 + 4?"}
    return {"messages": [message], "temperature": 0, "max_tokens": 100, **more}


def content(answer: Any) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def streamed(text: str) -> str:
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events(text) if event["choices"])


@pytest.mark.timeout(600)
def test_the_bundled_model_answers_as_it_is_told() -> None:
    llm = AsyncLLM(CONFIG, progress=False)

    async def scenario() -> None:
        async with client(llm=llm) as http:

            async def ask(**more: Any) -> Any:
                return await http.post("/v1/chat/completions", json=chat(**more))

            compact = {"json": SCHEMA, "disable_any_whitespace": True}
            free, formatted, stream, chosen, several, bad, endless = await asyncio.gather(
                ask(),
                ask(response_format=FORMAT),
                ask(structured_outputs=compact, stream=True),
                ask(guided_choice=["seven", "eight"]),
                ask(structured_outputs={"regex": "[0-9]{2}"}, n=3, temperature=1, seed=1),
                ask(structured_outputs={"regex": "["}),
                ask(structured_outputs={"grammar": "start: start"}),
            )
            assert set(json.loads(content(formatted))) == {"sum", "sure"}
            assert set(json.loads(streamed(stream.text))) == {"sum", "sure"}
            assert " " not in streamed(stream.text)
            assert content(chosen) in ("seven", "eight")
            assert all(choice["message"]["content"].isdecimal() for choice in several.json()["choices"])
            assert {choice["finish_reason"] for choice in several.json()["choices"]} == {"stop"}
            assert (bad.status_code, endless.status_code) == (400, 400)
            assert content(await ask()) == content(free)
            assert llm.stats().compiles_after_ready == 0

    asyncio.run(scenario())
