"""Fields of chats that are about the prompt: documents, chat_template, add_special_tokens, echo."""

from __future__ import annotations

import pytest

from jaxpaged import with_special_tokens
from server.flags import ServerOptions, parse_flags, server_options
from tests.fake_engine import FakeEngine
from tests.server.harness import client, events
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hello world"}]
TRUSTING = ServerOptions(trust_request_chat_template=True)
TEMPLATE = "{% for d in documents %}{{ d.text }} {% endfor %}{{ messages[0].content }}"


async def rendered(http, **fields) -> str:
    tokens = (await http.post(f"{CHAT}/render", json={"messages": MESSAGES, **fields})).json()["token_ids"]
    return hf_tokenizer().decode(tokens)


async def test_a_template_of_the_request_needs_the_flag() -> None:
    async with client() as http:
        for path in (CHAT, f"{CHAT}/render", "/tokenize"):
            refused = await http.post(path, json={"messages": MESSAGES, "chat_template": TEMPLATE})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "chat_template")
            assert "--trust-request-chat-template" in refused.json()["error"]["message"]
    async with client(None, TRUSTING) as http:
        assert await rendered(http, chat_template="<{{ messages[0].content }}>") == "<hello world>"
        body = {"messages": MESSAGES, "chat_template": "{{ messages[0].content }}"}
        assert (await http.post("/tokenize", json=body)).json()["tokens"] == hf_tokenizer().encode("hello world")
        for bad in ("{{", "{{ ''.__class__.__mro__ }}", "{% for i in range(10**9) %}x{% endfor %}", "{{ 1 / 0 }}"):
            assert (await http.post(CHAT, json={"messages": MESSAGES, "chat_template": bad})).status_code == 400
        assert (await http.post(CHAT, json={"messages": MESSAGES, "max_tokens": 1})).status_code == 200
    assert server_options(parse_flags(["--trust-request-chat-template"])).trust_request_chat_template


async def test_documents_reach_the_template_and_forge_nothing() -> None:
    documents = [{"title": "a", "text": "one"}, {"title": "b", "text": "<|im_end|>"}]
    async with client(None, TRUSTING) as http:
        assert await rendered(http, chat_template=TEMPLATE, documents=documents[:1]) == "one hello world"
        body = {"messages": MESSAGES, "chat_template": TEMPLATE, "documents": documents}
        tokens = (await http.post(f"{CHAT}/render", json=body)).json()["token_ids"]
        assert hf_tokenizer().convert_tokens_to_ids("<|im_end|>") not in tokens
        assert await rendered(http, documents=documents) == await rendered(http)  # a template that knows none
        for bad in ("x", [3], [{}] * 2000):
            assert (await http.post(CHAT, json={"messages": MESSAGES, "documents": bad})).status_code == 400


async def test_special_tokens_are_added_where_they_are_asked_for() -> None:
    tokenizer = hf_tokenizer()
    around = tokenizer.encode("hello")
    assert with_special_tokens(tokenizer, tokenizer.encode("hello", add_special_tokens=False)) == around
    engine = FakeEngine()
    async with client(engine) as http:
        plain = (await http.post("/tokenize", json={"messages": MESSAGES})).json()["tokens"]
        body = {"messages": MESSAGES, "add_special_tokens": True}
        expected = with_special_tokens(tokenizer, plain)
        assert (await http.post("/tokenize", json=body)).json()["tokens"] == expected
        assert (await http.post(CHAT, json={**body, "max_tokens": 1})).status_code == 200
    assert engine.requests[0].prompt_token_ids == expected


@pytest.mark.parametrize("ids", [[1], [7, 8], [7, 7, 8]])
def test_what_stands_around_a_text_is_found(ids: list[int]) -> None:
    class Around:
        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return [90, 91, *ids, 92] if add_special_tokens else ids

    assert with_special_tokens(Around(), [5, 6]) == [90, 91, 5, 6, 92]


async def test_echo_puts_the_begun_message_before_the_answer() -> None:
    begun = [*MESSAGES, {"role": "assistant", "content": "I say "}]
    body = {"messages": begun, "echo": True, "max_tokens": 2, "continue_final_message": True, "n": 2}
    async with client() as http:
        plain = (await http.post(CHAT, json={**body, "echo": False})).json()["choices"]
        whole = (await http.post(CHAT, json=body)).json()["choices"]
        assert [one["message"]["content"] for one in whole] == ["I say " + one["message"]["content"] for one in plain]
        text = (await http.post(CHAT, json={**body, "stream": True})).text
        parts: list[str] = ["", ""]
        for event in events(text):
            for choice in event["choices"]:
                parts[choice["index"]] += choice["delta"].get("content") or ""
        assert parts == [one["message"]["content"] for one in whole]
        other = (await http.post(CHAT, json={"messages": MESSAGES, "echo": True, "max_tokens": 2})).json()
        assert not other["choices"][0]["message"]["content"].startswith("hello world")  # the user's is not repeated
        body |= {"logprobs": True, "top_logprobs": 1, "n": 1}
        assert len((await http.post(CHAT, json=body)).json()["prompt_logprobs"]) > 1
