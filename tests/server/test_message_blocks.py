"""/v1/messages: blocks become messages, and choices those of chats."""

from __future__ import annotations

from functools import partial

import pytest

from server.messages.content import chat_messages
from server.messages.parse import _tool_choice, parse_messages
from server.messages.schema import MessagesRequest, ToolChoice
from server.openai.parse import parse_chat
from tests.server.test_messages import HELLO

pytestmark = pytest.mark.anyio


def test_blocks_become_messages() -> None:
    body = MessagesRequest.model_validate(
        {
            "max_tokens": 1,
            "system": "s",
            "messages": [
                {"role": "user", "content": "a"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "x"},
                        {"type": "redacted_thinking", "data": "x"},
                        {"type": "text", "text": "b"},
                        {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "c"}]},
                        {"type": "text", "text": "d"},
                        {"type": "text", "text": "e"},
                    ],
                },
                {"role": "assistant", "content": [{"type": "tool_use", "id": "2", "name": "g", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "2", "is_error": True}]},
            ],
        }
    )
    system, user, assistant, tool, then, call, result = chat_messages(body.system, body.messages)
    assert (system["content"], user["content"]) == ("s", "a")
    assert (assistant["content"], assistant["reasoning_content"]) == ("b", "hm")
    assert assistant["tool_calls"] == [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    ]
    assert tool == {"role": "tool", "tool_call_id": "1", "name": "f", "content": "c"}
    assert [part["text"] for part in then["content"]] == ["d", "e"]
    assert call["content"] is None
    assert result == {"role": "tool", "tool_call_id": "2", "name": "g", "content": ""}


def test_tool_choices_are_those_of_chats() -> None:
    def choice(**fields):
        return _tool_choice(ToolChoice.model_validate(fields))

    assert choice(type="auto") == {"tool_choice": "auto"}
    assert choice(type="any", disable_parallel_tool_use=True) == {
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    assert choice(type="none") == {"tool_choice": "none"}
    assert choice(type="tool", name="f") == {"tool_choice": {"type": "function", "function": {"name": "f"}}}


def test_thinking_is_a_switch_of_the_template() -> None:
    def kwargs(**fields):
        body = MessagesRequest.model_validate({"max_tokens": 1, "messages": HELLO, **fields})
        return parse_messages(body, partial(parse_chat, defaults={}, force_usage=False)).options.template_kwargs

    assert kwargs(thinking={"type": "enabled", "budget_tokens": 1024}) == {"enable_thinking": True}
    assert kwargs(thinking={"type": "disabled"}) == {"enable_thinking": False}
    assert kwargs(thinking={"type": "adaptive"}) is None
    assert kwargs(output_config={"effort": "low"})["reasoning_effort"] == "low"
