"""A real model from its published GGUF file, over HTTP: transformers' answers, and all that a client asks for."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest

from live_server import KEY, LiveServer
from tests.real.conftest import MODEL
from tests.real.prompts import NEW_TOKENS, PROMPTS

TOLERANCE = 1e-3  # of a log probability
LINE_END, TWO_LINE_ENDS = 198, 1116
JAPAN = [{"role": "user", "content": "What is the capital of Japan?"}]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "city": {"enum": ["München", "東京"]}},
    "required": ["name", "city"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}

pytestmark = pytest.mark.timeout(600)


@cache
def goldens() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "goldens.json").read_text(encoding="utf-8"))


def post(server: LiveServer, path: str, body: dict[str, Any]) -> dict[str, Any]:
    http = openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0)
    return http.post(path, body=body, cast_to=object)


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": MODEL, "messages": JAPAN, "temperature": 0, **fields})


def test_the_file_is_the_recorded_one(smollm2: Path) -> None:
    assert hashlib.sha256(smollm2.read_bytes()).hexdigest() == goldens()["sha256"]
    assert goldens()["prompts"].keys() == PROMPTS.keys()
    assert max(len(golden["prompt"]) for golden in goldens()["prompts"].values()) > 700


def test_texts_and_chats_become_the_token_ids_of_transformers(server: LiveServer) -> None:
    """But for two line ends before a digit in "long": the model's own tokenizer.json (and llama.cpp) cuts digits off
    first, which makes them one token; transformers 5.23 reads the file's "smollm" as GPT-2's way, which makes them two.
    """
    for name, prompt in PROMPTS.items():
        body = {"prompt": prompt} if isinstance(prompt, str) else {"messages": prompt, "add_generation_prompt": True}
        wanted = goldens()["prompts"][name]["prompt"]
        found = post(server, "/tokenize", {"model": MODEL, **body})["tokens"]
        if name == "long":
            place = wanted.index(LINE_END)
            assert wanted[place : place + 2] == [LINE_END, LINE_END]
            wanted = [*wanted[:place], TWO_LINE_ENDS, *wanted[place + 2 :]]
        assert found == wanted, name


def test_greedy_tokens_and_log_probabilities_equal_those_of_transformers(client: openai.OpenAI) -> None:
    """All prompts at once."""

    def check(name: str) -> None:
        golden = goldens()["prompts"][name]
        extra = {"ignore_eos": True, "return_token_ids": True}
        answer = client.completions.create(
            model=MODEL, prompt=golden["prompt"], max_tokens=NEW_TOKENS, temperature=0, logprobs=0, extra_body=extra
        )
        assert answer.choices[0].model_extra["token_ids"] == golden["tokens"], name
        assert answer.choices[0].logprobs.token_logprobs == pytest.approx(golden["logprobs"], abs=TOLERANCE), name

    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        list(pool.map(check, PROMPTS))


def test_it_answers(client: openai.OpenAI) -> None:
    """Streamed or not; the answer ends by itself."""
    whole = ask(client, max_tokens=40).choices[0]
    assert "Tokyo" in whole.message.content
    assert whole.finish_reason == "stop"
    chunks = [chunk.choices[0] for chunk in ask(client, max_tokens=40, stream=True)]
    assert "".join(chunk.delta.content or "" for chunk in chunks) == whole.message.content
    assert sum(bool(chunk.delta.content) for chunk in chunks) > 2
    assert chunks[-1].finish_reason == "stop"


def test_structured_output_in_four_forms(client: openai.OpenAI) -> None:
    def content(**fields: Any) -> str:
        return ask(client, max_tokens=60, **fields).choices[0].message.content

    schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    jsonschema.validate(json.loads(content(response_format=schema)), PERSON)
    price = r"[0-9]{1,3}(,[0-9]{2})? € 👩‍🔬"
    assert re.fullmatch(price, content(extra_body={"structured_outputs": {"regex": price}}))
    cities = ["Kyoto", "東京", "Osaka"]
    assert content(extra_body={"structured_outputs": {"choice": cities}}) in cities
    grammar = 'start: ("ja" | "nein") " " /[a-c]{2,4}/ "!"'
    assert re.fullmatch(r"(ja|nein) [a-c]{2,4}!", content(extra_body={"structured_outputs": {"grammar": grammar}}))


def test_a_tool_call(client: openai.OpenAI) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    (call,) = ask(client, tools=[WEATHER], tool_choice=choice, max_tokens=60).choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    jsonschema.validate(json.loads(call.function.arguments), WEATHER["function"]["parameters"])


def test_beam_search_finds_what_is_likelier_than_the_greedy_answer(client: openai.OpenAI) -> None:
    golden = goldens()["prompts"]["physics"]
    beams = client.completions.create(
        model=MODEL,
        prompt=golden["prompt"],
        n=3,
        max_tokens=8,
        temperature=0,
        logprobs=0,
        extra_body={"use_beam_search": True, "ignore_eos": True},
    ).choices
    sums = [sum(beam.logprobs.token_logprobs) for beam in beams]
    assert sums == sorted(sums, reverse=True)
    assert len({beam.text for beam in beams}) == 3
    assert sums[0] >= sum(golden["logprobs"][:8]) - TOLERANCE


def test_four_answers_differ(client: openai.OpenAI) -> None:
    answers = ask(
        client, messages=[{"role": "user", "content": "Tell me a story."}], n=4, temperature=1, seed=7, max_tokens=16
    )
    assert len({choice.message.content for choice in answers.choices}) == 4
