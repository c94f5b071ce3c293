"""anthropic-python against /v1/messages, under its strict validation."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest

from tests.clients.capabilities import needs
from tests.clients.conftest import KEY, MODEL

pytestmark = needs("messages")
ASKED = {
    "model": MODEL, "max_tokens": 40, "messages": [{"role": "user", "content": "Add 12 and 30."}],
    "extra_body": {"temperature": 0, "top_k": 5},  # no arguments of their own any more
}  # fmt: skip
ANSWER = "12 + 30 = 42"
TOOL = {"name": "add", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}


@pytest.fixture
def client(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, _strict_response_validation=True) as client:
        yield client


def test_a_message(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**ASKED, system="Be kind.", stop_sequences=["zzz"])
    assert (message.role, message.stop_reason) == ("assistant", "end_turn")
    assert [block.text for block in message.content] == [ANSWER]
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0


def test_where_it_stops(client: anthropic.Anthropic) -> None:
    assert client.messages.create(**{**ASKED, "max_tokens": 2}).stop_reason == "max_tokens"
    message = client.messages.create(**ASKED, stop_sequences=[" ="])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " =")


def test_a_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ASKED) as stream:
        assert "".join(stream.text_stream) == ANSWER
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn"
    kinds = [event.type for event in client.messages.create(**ASKED, stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_parts_and_turns(client: anthropic.Anthropic) -> None:
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello! What can I do for you?"}]},
        {"role": "user", "content": [{"type": "text", "text": "Add 12 and 30."}]},
    ]
    system = [{"type": "text", "text": "Be kind."}]
    assert "42" in client.messages.create(**{**ASKED, "messages": turns}, system=system).content[0].text


def test_counting(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=ASKED["messages"])
    assert counted.input_tokens == client.messages.create(**ASKED).usage.input_tokens


@needs("messages", "tools", "structured")
def test_a_tool(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**ASKED, tools=[TOOL], tool_choice={"type": "tool", "name": "add"})
    assert message.stop_reason in ("tool_use", "max_tokens")
    assert message.content[0].name == "add"


def test_errors(client: anthropic.Anthropic, url: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**{**ASKED, "extra_body": {"temperature": 9}})
    assert caught.value.body["type"] == "error"
    assert "temperature" in caught.value.body["error"]["message"]
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**{**ASKED, "model": "claude"})
    wrong = anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0)
    with wrong, pytest.raises(anthropic.AuthenticationError):
        wrong.messages.create(**ASKED)
