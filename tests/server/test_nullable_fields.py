"""Fields that clients read without asking first are there, null; prompt_token_ids come with a stream's first chunk."""

from __future__ import annotations

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.server.harness import client, events
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio
CHAT = {"messages": [{"role": "user", "content": "hello world"}], "max_tokens": 3}
BODIES = {"/v1/completions": {"prompt": "hello world", "max_tokens": 3}, "/v1/chat/completions": CHAT}


@pytest.mark.parametrize("path", BODIES)
async def test_a_body_has_them(path: str) -> None:
    async with client() as http:
        content = (await http.post(path, json=BODIES[path])).json()
    kind = ChatCompletion if "chat" in path else Completion
    answer = kind.model_validate(content)
    (choice,) = answer.choices
    assert answer.service_tier is answer.system_fingerprint is answer.kv_transfer_params is None
    assert answer.usage.completion_tokens_details is None
    assert choice.token_ids is choice.stop_reason is None
    scored = answer if "chat" in path else choice
    assert scored.prompt_logprobs is scored.prompt_token_ids is None
    if "chat" in path:
        told = choice.message
        assert told.refusal is told.annotations is told.audio is told.function_call is told.reasoning is None
    assert {"service_tier", "system_fingerprint"} <= content.keys()  # for clients without defaults of their own


@pytest.mark.parametrize("extra", [{}, {"logprobs": 1}, {"return_token_ids": True}])
@pytest.mark.parametrize("path", BODIES)
async def test_chunks_have_them(path: str, extra: dict) -> None:
    if "chat" in path and "logprobs" in extra:
        extra = {"logprobs": True}
    async with client() as http:
        response = await http.post(path, json={**BODIES[path], **extra, "stream": True})
    for chunk in events(response.text):
        (choice,) = chunk["choices"]
        assert {"logprobs", "finish_reason", "stop_reason", "token_ids"} <= choice.keys()
        assert (choice["token_ids"] is None) == (not choice.get("text") and "role" in choice.get("delta", {})) or (
            "return_token_ids" not in extra
        )


@pytest.mark.parametrize("n", [1, 2])
async def test_a_chat_stream_begins_with_the_prompts_tokens(n: int) -> None:
    async with client() as http:
        whole = (await http.post("/v1/chat/completions", json={**CHAT, "n": n, "return_token_ids": True})).json()
        body = {**CHAT, "n": n, "return_token_ids": True, "stream": True}
        chunks = events((await http.post("/v1/chat/completions", json=body)).text)
    assert hf_tokenizer().decode(whole["prompt_token_ids"]).endswith("assistant\n")
    assert ChatCompletionChunk.model_validate(chunks[0]).prompt_token_ids == whole["prompt_token_ids"]
    assert [chunk.get("prompt_token_ids") for chunk in chunks[1:]] == [None] * (len(chunks) - 1)
