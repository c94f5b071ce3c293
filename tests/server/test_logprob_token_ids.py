"""logprob_token_ids: the ids and the sampled token, whatever else was asked for; tokens of one spelling stay apart."""

from __future__ import annotations

import pytest

from tests.fake_engine import FakeEngine
from tests.server.harness import client, events
from tests.text.samples import hf_tokenizer
from tests.text.test_detokenizer import BYTE_LEVEL, byte_ids

pytestmark = pytest.mark.anyio
MESSAGES = [{"role": "user", "content": "hello"}]
FACE = byte_ids(BYTE_LEVEL, "🙂".encode())  # four tokens, each a part of it
WORLD = hf_tokenizer().encode(" world")[0]
NAMED = [*FACE[:3], WORLD]


def engine() -> FakeEngine:
    return FakeEngine(script=lambda request: [FACE[3], *FACE])


@pytest.mark.parametrize("extra", [{}, {"top_logprobs": 0}, {"top_logprobs": 2}, {"top_logprobs": 20}])
async def test_chats_show_them_all(extra: dict) -> None:
    body = {"messages": MESSAGES, "logprobs": True, "logprob_token_ids": NAMED, **extra}
    async with client(engine()) as http:
        whole = (await http.post("/v1/chat/completions", json=body)).json()
        chunks = events((await http.post("/v1/chat/completions", json={**body, "stream": True})).text)
    entries = whole["choices"][0]["logprobs"]["content"]
    assert [bytes(entry["bytes"]) for entry in entries] == [
        bytes([byte]) for byte in ("🙂"[-1:].encode()[-1:] + "🙂".encode())
    ]
    for entry in entries:
        shown = [bytes(other["bytes"]) for other in entry["top_logprobs"]]
        assert sorted(shown) == sorted(
            {bytes(entry["bytes"]), *(bytes([byte]) for byte in "🙂".encode()[:3]), b" world"}
        )
    streamed = [one for chunk in chunks for one in (chunk["choices"][0]["logprobs"] or {}).get("content", ())]
    assert streamed == entries


async def test_they_are_enough_to_ask_and_not_lost_without_logprobs() -> None:
    async with client(engine()) as http:
        chat = await http.post("/v1/chat/completions", json={"messages": MESSAGES, "logprob_token_ids": NAMED})
        refused = await http.post(
            "/v1/chat/completions", json={"messages": MESSAGES, "logprob_token_ids": NAMED, "logprobs": False}
        )
        answer = await http.post("/v1/responses", json={"input": MESSAGES, "logprob_token_ids": NAMED})
    assert len(chat.json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 5
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "logprob_token_ids")
    assert len(answer.json()["output"][0]["content"][0]["logprobs"][0]["top_logprobs"]) == 5


@pytest.mark.parametrize("logprobs", [None, 0, 2, 20])
async def test_tokens_in_tokens_out_shows_them_all(logprobs: int | None) -> None:
    sampling = {"max_tokens": 2, "logprobs": logprobs, "logprob_token_ids": NAMED}
    async with client(engine()) as http:
        answer = await http.post("/inference/v1/generate", json={"token_ids": [1, 2], "sampling_params": sampling})
    for entry in answer.json()["choices"][0]["logprobs"]["content"]:
        shown = {other["token"] for other in entry["top_logprobs"]}
        assert shown == {entry["token"], *(f"token_id:{token}" for token in NAMED)}


@pytest.mark.parametrize("logprobs", [None, 0, 3, 20])
async def test_completions_keep_tokens_of_one_spelling_apart(logprobs: int | None) -> None:
    body = {"prompt": "hello", "logprobs": logprobs, "logprob_token_ids": NAMED}
    async with client(engine()) as http:
        lists = (await http.post("/v1/completions", json=body)).json()["choices"][0]["logprobs"]
    assert [len(best) for best in lists["top_logprobs"]] == [5, 4, 4, 4, 5]
    for token, best in zip(lists["tokens"], lists["top_logprobs"], strict=True):
        assert token in best
        assert " world" in best
    assert {"bytes:\\x9f", "bytes:\\x99"} < lists["top_logprobs"][0].keys()
    assert "".join(lists["tokens"]) == "🙂"


async def test_the_best_tokens_stay_apart_too() -> None:
    """Whatever brought them: here the neighbours of a token, all of them parts of characters."""
    async with client(FakeEngine(script=lambda request: [FACE[0]])) as http:
        body = {"prompt": "hello", "logprobs": 6}
        lists = (await http.post("/v1/completions", json=body)).json()["choices"][0]["logprobs"]
    assert len(lists["top_logprobs"][0]) == 6
