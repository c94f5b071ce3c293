"""One conversation as each protocol writes it, and the prompt that the server makes of it."""

from __future__ import annotations

from typing import Any

import httpx

from tests.server.talker import Talker

# as strict as published ones: one system message, at the beginning; content and arguments are read without a look
STRICT = (
    "{% for t in tools or [] %}{{ t.function.name }} {% endfor %}{# <tool_call> #}"
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('System message must be at the beginning.') }}{% endif %}{% if m.role in roles %}"
    "<|im_start|>{{ m.role }}\n{{ m['content'].strip() }}{% for c in m.tool_calls or [] %}<tool_call>"
    "{{ c.function.name }}{% for k, v in c.function.arguments.items() %} {{ k }}={{ v }}{% endfor %}</tool_call>"
    "{% endfor %}<|im_end|>{% endif %}{% endfor %}"
).replace("in roles", "in ['system', 'user', 'assistant', 'tool']")


def chat_body(messages: list[dict[str, Any]]) -> dict[str, Any]:
    return {"messages": messages}


def responses_body(messages: list[dict[str, Any]]) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool":
            items.append({"type": "function_call_output", "call_id": "1", "output": message["content"]})
            continue
        if message.get("content"):
            items.append({"role": message["role"], "content": message["content"]})
        for call in message.get("tool_calls", ()):
            items.append({"type": "function_call", "call_id": "1", **call["function"]})
    return {"input": items}


def messages_body(messages: list[dict[str, Any]]) -> dict[str, Any]:
    said: list[dict[str, Any]] = []
    for message in messages:
        content, role = message.get("content"), message["role"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []
        if role == "tool":
            role, blocks = "user", [{"type": "tool_result", "tool_use_id": "1", "content": content}]
        for call in message.get("tool_calls", ()):
            function = call["function"]
            block = {"type": "tool_use", "id": "1", "name": function["name"], "input": function.get("arguments")}
            blocks = [*blocks, block]
        said.append({"role": "system" if role == "developer" else role, "content": blocks})
    return {"messages": said, "max_tokens": 4}


ROUTES = {
    "/v1/chat/completions": chat_body,
    "/v1/responses": responses_body,
    "/v1/messages": messages_body,
    "/tokenize": chat_body,
}


async def prompt_of(http: httpx.AsyncClient, talker: Talker, route: str, messages: list[dict[str, Any]]) -> str:
    """The prompt as text."""
    answer = await http.post(route, json=ROUTES[route](messages))
    assert answer.status_code == 200, answer.text
    if route == "/tokenize":
        return talker.tokenizer.decode(answer.json()["tokens"])
    return talker.prompt()
