"""/tokenize and /detokenize, by vLLM's fields."""

from __future__ import annotations

import pytest

from tests.server.harness import async_llm, client, front_end
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio
MESSAGES = [{"role": "user", "content": "hello world"}]
RENDERED = "<|im_start|>user\nhello world<|im_end|>\n"


async def test_prompts_and_back() -> None:
    async with client() as http:
        answer = (await http.post("/tokenize", json={"prompt": "hello world", "return_token_strs": True})).json()
        assert set(answer) == {"count", "max_model_len", "tokens", "token_strs"}
        assert (answer["count"], answer["max_model_len"]) == (len(answer["tokens"]), 256)
        assert "".join(answer["token_strs"]).replace("Ġ", " ") == "hello world"
        back = (await http.post("/detokenize", json={"tokens": answer["tokens"]})).json()
        assert back == {"prompt": "hello world"}


async def test_conversations() -> None:
    async def text(http, **fields) -> str:
        answer = (await http.post("/tokenize", json={"messages": MESSAGES, **fields})).json()
        assert answer["token_strs"] is None
        return hf_tokenizer().decode(answer["tokens"])

    async with client() as http:
        assert await text(http) == RENDERED + "<|im_start|>assistant\n"
        assert await text(http, add_generation_prompt=False, add_special_tokens=False) == RENDERED
        assert await text(http, continue_final_message=True) == RENDERED.removesuffix("<|im_end|>\n")


async def test_tools_reach_the_template() -> None:
    llm = async_llm()
    llm._front_end.tokenizer.chat_template = "{% for tool in tools %}{{ tool.function.name }}{% endfor %}!"
    tools = [{"type": "function", "function": {"name": "fox", "parameters": {"type": "object"}}}]
    async with client(llm=llm) as http:
        answer = (await http.post("/tokenize", json={"messages": MESSAGES, "tools": tools})).json()
    assert hf_tokenizer().decode(answer["tokens"]) == "fox!"
    assert front_end().tokenizer.chat_template != llm._front_end.tokenizer.chat_template
