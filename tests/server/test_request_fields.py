"""Fields of a request that were lost or could not be had: which side is cut, how many stop strings there may be."""

from __future__ import annotations

import pytest

from server.flags import ServerOptions, parse_flags, server_options
from tests.fake_engine import FakeEngine
from tests.server.harness import client, events
from tests.server.test_completions import PROMPT, complete
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio


async def test_truncation_side_right_keeps_the_beginning() -> None:
    engine = FakeEngine()
    ids = hf_tokenizer().encode(PROMPT)
    async with client(engine) as http:
        for prompt in (PROMPT, ids):
            await complete(http, prompt=prompt, truncate_prompt_tokens=3, truncation_side="right")
        await complete(http, prompt=ids * 100, truncate_prompt_tokens=-1, truncation_side="right", max_tokens=10)
        await complete(http, prompt=PROMPT, truncate_prompt_tokens=3, truncation_side="left")
        await complete(http, prompt=PROMPT, truncation_side="right")
        chat = {"messages": [{"role": "user", "content": PROMPT}], "truncate_prompt_tokens": 3, "max_tokens": 1}
        for path in ("/v1/chat/completions", "/v1/messages"):
            assert (await http.post(path, json={**chat, "truncation_side": "right"})).status_code == 200
        bad = await http.post("/v1/completions", json={"prompt": PROMPT, "truncation_side": "middle"})
    taken = [request.prompt_token_ids for request in engine.requests]
    assert taken == [
        ids[:3],
        ids[:3],
        (ids * 100)[:246],
        ids[-3:],
        ids,
        *[hf_tokenizer().encode("<|im_start|>user\n")[:3]] * 2,
    ]
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "truncation_side")


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_a_stop_string_that_never_comes_holds_nothing_back(path: str) -> None:
    """Each token comes at once; what may become the stop string comes later, and no event is empty."""
    words = ["hello", " world", " ZZ", " stop", "!"]
    script = [token for word in words for token in hf_tokenizer().encode(word)]
    body = {"max_tokens": len(script), "stop": ["Z" * 40, "stop here"], "stream": True}
    asked = {"prompt": "a"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "a"}]}
    async with client(FakeEngine(script=lambda request: script)) as http:
        chunks = events((await http.post(path, json={**asked, **body})).text)
    choices = [chunk["choices"][0] for chunk in chunks]
    texts = [choice["text"] if "text" in choice else choice["delta"].get("content", "") for choice in choices]
    if path == "/v1/chat/completions":
        assert texts.pop(0) == ""  # the role
    assert "".join(texts) == "".join(words)
    assert all(texts)
    assert texts[:2] == ["hello", " world"]
    assert texts[-1] in (" stop!", "stop!")


async def test_the_bound_of_stop_strings_is_a_flag() -> None:
    stops = [f"{i}!" for i in range(6)]
    bodies = {
        "/v1/completions": {"prompt": PROMPT, "stop": stops},
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}], "stop": stops, "max_tokens": 1},
        "/v1/messages": {"messages": [{"role": "user", "content": "a"}], "stop_sequences": stops, "max_tokens": 1},
    }
    for most, status in ((4, 400), (6, 200)):
        async with client(options=ServerOptions(max_stop_strings=most)) as http:
            for path, body in bodies.items():
                response = await http.post(path, json=body)
                assert response.status_code == status, response.text
                assert status == 200 or "at most 4 are taken (--max-stop-strings)" in response.text
    assert server_options(parse_flags(["--max-stop-strings", "9"])).max_stop_strings == 9
