"""Tools that only their inventor runs change nothing beside functions, and the items of their calls are taken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.responses.tools import FunctionName
from tests.server.conversations import STRICT
from tests.server.harness import client
from tests.server.talker import Talker

pytestmark = pytest.mark.anyio
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
FUNCTION = {"type": "function", "name": "shell", "parameters": SCHEMA, "strict": False}
NAMESPACE = {"type": "namespace", "name": "files", "description": "d", "tools": [{**FUNCTION, "name": "read"}]}
UNSERVED: list[dict[str, Any]] = [
    {"type": "web_search", "search_context_size": "low"},
    {
        "type": "custom",
        "name": "apply_patch",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
    },
    {"type": "local_shell"},
    {"type": "image_generation"},
    {"type": "mcp", "server_label": "x", "server_url": "http://127.0.0.1:9"},
    {"type": "tool_search"},
]
# what codex sends
CODEX = [FUNCTION, *UNSERVED, NAMESPACE]
ANTHROPIC = [
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
    {"type": "bash_20250124", "name": "bash"},
    {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    {"type": "mcp_toolset", "mcp_server_name": "x"},
]
OWN = {"name": "shell", "input_schema": SCHEMA}


async def test_responses_serve_the_functions_among_a_list_of_tools() -> None:
    talker = Talker('<tool_call>\n{"name": "files__read", "arguments": {"path": "a"}}\n</tool_call>', STRICT)
    async with client(llm=talker.llm) as http:
        body = {"input": "hello", "tools": CODEX}
        answer = (await http.post("/v1/responses", json=body)).json()
        assert talker.prompt().startswith("shell files__read <|im_start|>user\nhello")
        (call,) = answer["output"]
        assert (call["namespace"], call["name"], json.loads(call["arguments"])) == ("files", "read", {"path": "a"})
        assert [tool["type"] for tool in answer["tools"]] == [tool["type"] for tool in CODEX]
        assert answer["tools"][1:] == CODEX[1:]
        events = (await http.post("/v1/responses", json={**body, "stream": True})).text
        assert events.count('"namespace":"files"') == 3  # added, done, completed
        assert '"name":"files__read"' not in events
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "ok"}
        hello = {"role": "user", "content": "hello"}
        chained = {"input": [output], "previous_response_id": answer["id"]}
        for again in (chained, {"input": [hello, call, output]}):
            assert (await http.post("/v1/responses", json=again)).status_code == 200
            assert "<tool_call>files__read path=a</tool_call><|im_end|><|im_start|>tool\nok" in talker.prompt()


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "files__read"},
        {"type": "function", "name": "read", "namespace": "files"},
        {"type": "function", "name": "read"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "namespace", "name": "files"}, UNSERVED[0]]},
    ],
)
async def test_a_choice_may_name_a_function_of_a_namespace(choice: dict[str, Any]) -> None:
    talker = Talker(
        '{"path": "a"}' if choice["type"] == "function" else '[{"name": "files__read", "parameters": {}}]', STRICT
    )
    async with client(llm=talker.llm) as http:
        answer = await http.post("/v1/responses", json={"input": "hello", "tools": CODEX, "tool_choice": choice})
    assert [(item["namespace"], item["name"]) for item in answer.json()["output"]] == [("files", "read")], answer.text


async def test_only_unserved_tools_are_no_tools() -> None:
    talker = Talker()
    async with client(llm=talker.llm) as http:
        for route, body in (
            ("/v1/responses", {"input": "hello", "tools": UNSERVED}),
            ("/v1/messages", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9, "tools": ANTHROPIC}),
        ):
            assert (await http.post(route, json=body)).status_code == 200
            assert talker.prompt() == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


async def test_a_choice_of_an_unserved_tool_is_refused() -> None:
    talker = Talker()
    messages = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9, "tools": [*ANTHROPIC, OWN]}
    async with client(llm=talker.llm) as http:
        for route, body in (
            ("/v1/responses", {"input": "a", "tools": CODEX, "tool_choice": {"type": "web_search"}}),
            ("/v1/responses", {"input": "a", "tools": CODEX, "tool_choice": {"type": "custom", "name": "apply_patch"}}),
            ("/v1/responses", {"input": "a", "tools": UNSERVED, "tool_choice": "required"}),
            ("/v1/messages", {**messages, "tool_choice": {"type": "tool", "name": "bash"}}),
        ):
            answer = await http.post(route, json=body)
            assert answer.status_code == 400, answer.text
            assert "tool_choice" in answer.json()["error"]["message"]


async def test_messages_serve_the_clients_own_tools() -> None:
    talker = Talker(template=STRICT)
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9, "tools": [*ANTHROPIC, OWN]}
    async with client(llm=talker.llm) as http:
        for route in ("/v1/messages", "/v1/messages/count_tokens"):
            answer = await http.post(route, json=body)
            assert answer.status_code == 200, answer.text
    assert talker.prompt().startswith("shell <|im_start|>user")


async def test_items_of_every_kind_of_call_are_taken() -> None:
    talker = Talker(template=STRICT)
    items = [
        {"role": "user", "content": "hello"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"type": "custom_tool_call", "call_id": "1", "name": "apply_patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "1", "output": "patched"},
        {
            "type": "local_shell_call",
            "call_id": "2",
            "action": {"type": "exec", "command": ["ls"]},
            "status": "completed",
        },
        {"type": "local_shell_call_output", "id": "2", "output": "a.txt"},
        {"type": "shell_call_output", "call_id": "3", "output": [{"stdout": "b", "stderr": "", "outcome": {}}]},
        {"type": "mcp_list_tools", "id": "l", "server_label": "x", "tools": []},
        {"type": "mcp_call", "id": "4", "name": "find", "arguments": "{}", "server_label": "x", "output": "found"},
        {"type": "image_generation_call", "id": "ig_1", "result": "AAAA"},
        {"type": "code_interpreter_call", "id": "ci_1", "code": "1", "container_id": "c", "outputs": None},
    ]
    async with client(llm=talker.llm) as http:
        answer = await http.post("/v1/responses", json={"input": items})
    assert answer.status_code == 200, answer.text
    said = [turn.removesuffix("<|im_end|>") for turn in talker.prompt().split("<|im_start|>")[1:]]
    assert said == [
        "user\nhello",
        "assistant\n<tool_call>apply_patch input=*** Begin</tool_call>",
        "tool\npatched",
        "assistant\n<tool_call>local_shell action={'type': 'exec', 'command': ['ls']}</tool_call>",
        "tool\na.txt",
        'tool\n[{"stdout":"b","stderr":"","outcome":{}}]',
        "assistant\n<tool_call>find</tool_call>",
        "tool\nfound",
    ]


async def test_blocks_of_anthropics_own_tools_are_taken() -> None:
    talker = Talker(template=STRICT)
    found = {"type": "search_result", "title": "t", "source": "s", "content": [{"type": "text", "text": "b"}]}
    paper = {"type": "document", "title": "d", "source": {"type": "text", "media_type": "text/plain", "data": "c"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "1",
        "content": [found, {"type": "tool_reference", "tool_name": "f"}],
    }
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, paper]},
        {
            "role": "assistant",
            "content": [
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
                {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result"}]},
                {"type": "bash_code_execution_tool_result", "tool_use_id": "s", "content": {"type": "x"}},
                {"type": "text", "text": "so", "citations": []},
                {"type": "tool_use", "id": "1", "name": "f", "input": None},
            ],
        },
        {"role": "user", "content": [result]},
    ]
    async with client(llm=talker.llm) as http:
        answer = await http.post("/v1/messages", json={"messages": messages, "max_tokens": 9})
    assert answer.status_code == 200, answer.text
    said = [turn.removesuffix("<|im_end|>") for turn in talker.prompt().split("<|im_start|>")[1:]]
    assert said == ["user\na\nd\nc", "assistant\nso<tool_call>f</tool_call>", "tool\nt\nb\nf"]


def test_long_names_are_cut_and_stay_apart() -> None:
    one, two = (FunctionName(f"create_event_{number}", "mcp__google_calendar" * 3).flat() for number in (1, 2))
    assert len(one) == len(two) == 64
    assert one != two
    assert FunctionName("f").flat() == "f"
