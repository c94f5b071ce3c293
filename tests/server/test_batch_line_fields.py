"""A line of a batch meets the same parser: what is refused by name, what is served, and the bounds that flags raise."""

from __future__ import annotations

import argparse
import io
import json

import pytest

from server.batches.__main__ import add_arguments
from server.batches.answering import ENDPOINTS
from server.batches.from_file import answer_all
from server.batches.lines import LineReader
from server.flags import ServerOptions
from tests.server.harness import async_llm
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio
CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
STOPS = [f"{i}!" for i in range(6)]
WORLD = hf_tokenizer().encode(" world")


async def answers(bodies: list[dict], options: ServerOptions) -> list[tuple[int, dict]]:
    lines = [
        {"custom_id": str(index), "method": "POST", "url": url, "body": body}
        for index, body in enumerate(bodies)
        for url in ("/v1/chat/completions" if "messages" in body else "/v1/completions",)
    ]
    source, target = io.BytesIO("\n".join(map(json.dumps, lines)).encode()), io.BytesIO()
    llm = async_llm()
    await answer_all(llm, LineReader(source, ENDPOINTS.keys(), 10**6), target, 1, options)
    llm.shutdown()
    records = [json.loads(line)["response"] for line in target.getvalue().splitlines()]
    return [(record["status_code"], record["body"]) for record in records]


async def test_lines_are_read_as_requests_are() -> None:
    bodies = [
        {"prompt": "hello world", "max_tokens": 0, "echo": True},
        {**CHAT, "stop": STOPS},
        {**CHAT, "allowed_token_ids": WORLD, "bad_words": ["world"]},
        {**CHAT, "watermarking": True},
        {"prompt": "hello " * 300},
        {"prompt": "hello world", "truncate_prompt_tokens": 1, "truncation_side": "right", "max_tokens": 1},
    ]
    found = await answers(bodies, ServerOptions(max_stop_strings=6))
    assert [status for status, _ in found] == [200, 200, 400, 400, 400, 200]
    assert found[0][1]["choices"][0]["text"] == "hello world"
    assert found[1][1]["service_tier"] is None
    said = [body["error"]["message"] for _, body in found[2:5]]
    assert "allowed_token_ids and bad_words" in said[0]
    assert "watermarking" in said[1]
    assert "maximum context length" in said[2]
    assert found[5][1]["choices"][0]["text"] == "hello"


async def test_the_bound_of_stop_strings_holds_for_lines() -> None:
    ((status, body),) = await answers([{**CHAT, "stop": STOPS}], ServerOptions())
    assert (status, body["error"]["param"]) == (400, "stop")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(["-i", "a", "-o", "b", "--max-stop-strings", "9"]).max_stop_strings == 9
