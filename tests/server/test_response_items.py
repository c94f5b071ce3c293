"""/v1/responses: items become messages, answers become items, and a store keeps both."""

from __future__ import annotations

import pytest

from server.answers.blocks import Block, Kind
from server.responses.items import answer_messages, input_messages, with_instructions
from server.responses.parse import _response_format
from server.responses.schema import InputItem, ResponsesRequest
from server.responses.store import ResponseStore
from server.responses.tools import chat_tools

pytestmark = pytest.mark.anyio


def test_the_store_is_bounded_by_count_and_by_bytes() -> None:
    store = ResponseStore(3, 10_000)
    for number in range(5):
        store.put("me", {"id": str(number)}, [])
        store.get("me", "2")
    assert [store.get("me", str(number)) is not None for number in range(5)] == [False, False, True, True, True]
    store.put("me", {"id": "large"}, [{"role": "user", "content": "x" * 9_950}])
    assert (len(store), store.bytes <= 10_000) == (1, True)
    store.put("me", {"id": "too large"}, [{"role": "user", "content": "x" * 10_000}])
    assert (len(store), store.get("me", "too large")) == (1, None)
    store.put("me", {"id": "large", "status": "completed"}, [{"role": "user", "content": "x" * 10_000}])
    assert (len(store), store.get("me", "large")) == (0, None)  # not found, where it would be "queued" for ever
    store.put("me", {"id": "small"}, [])
    store.remove("me", "small")
    assert (len(store), store.bytes) == (0, 0)


def test_items_become_messages() -> None:
    items = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "c", "annotations": []}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "g", "arguments": '{"x": 1}'},
        {"type": "function_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "done"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]},
        {"role": "assistant", "content": "d"},
        {"role": "assistant", "content": "e"},
    ]
    first, developer, user, assistant, tool, then, last = with_instructions(
        "first", input_messages([InputItem.model_validate(item) for item in items])
    )
    assert first == {"role": "system", "content": "first"}
    assert developer == {"role": "developer", "content": "be kind"}
    assert user == {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    assert (assistant["reasoning_content"], assistant["content"]) == ("hm", "c")
    assert [call["function"]["name"] for call in assistant["tool_calls"]] == ["f", "g"]
    assert tool == {"role": "tool", "tool_call_id": "2", "name": "g", "content": "done"}
    assert (then["reasoning_content"], then["content"]) == ("so", "d")
    assert last == {"role": "assistant", "content": "e"}


def test_an_answer_becomes_one_message() -> None:
    blocks = [Block(0, Kind.REASONING, "hm"), Block(1, Kind.TEXT, "a"), Block(2, Kind.TOOL, "{}", "1", "f")]
    (message,) = answer_messages(blocks)
    assert (message["reasoning_content"], message["content"]) == ("hm", "a")
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_tools_and_formats_take_the_shapes_of_chats() -> None:
    schema = {"type": "object"}
    body = ResponsesRequest.model_validate(
        {
            "input": "a",
            "text": {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}},
            "tools": [{"type": "function", "name": "f", "parameters": schema}, {"type": "function", "name": "g"}],
            "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]},
        }
    )
    assert _response_format(body.text) == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": schema, "strict": True},
    }
    assert chat_tools(body) == ([{"type": "function", "function": {"name": "g"}}], "required")
