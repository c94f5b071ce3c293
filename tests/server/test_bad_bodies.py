"""Bodies that are no request: what is not JSON, too large, of another kind, or sent elsewhere."""

from __future__ import annotations

import re

import pytest

from server.flags import ServerOptions
from tests.fake_engine import FakeEngine
from tests.server.harness import client
from tests.server.test_bad_input import CHAT, COMPLETION, assert_alive, assert_error

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "content",
    [
        b'{"prompt": "a", "temperature": NaN}',
        b'{"prompt": "a", "temperature": Infinity}',
        b'{"prompt": "a", "temperature": 1e400}',
        b'{"prompt": "a", "top_p": -Infinity}',
        b'{"prompt": ' + b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"prompt": "a"} trailing',
        b'\xef\xbb\xbf{"prompt": "a"}',
        b'{"prompt": "\xff"}',
        b'{"prompt": "\\ud800"}',
        b"",
        b"[1]",
        b'"text"',
        b"null",
        b"{",
    ],
)
async def test_bodies_that_are_not_what_json_is(content: bytes) -> None:
    engine = FakeEngine()
    async with client(engine) as http:
        for path in ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"):
            assert_error(await http.post(path, content=content, headers={"content-type": "application/json"}), 400)
        await assert_alive(http, engine)


async def test_odd_but_harmless_json_is_taken() -> None:
    """A key of 1 MB, the same key twice."""
    async with client() as http:
        content = b'{"prompt": "hello", "prompt": "hello world", "max_tokens": 2, "' + b"k" * 10**6 + b'": 1}'
        response = await http.post("/v1/completions", content=content, headers={"content-type": "application/json"})
        assert response.json()["choices"][0]["text"] == "hello world"


async def test_bodies_of_another_kind() -> None:
    async with client() as http:
        for headers in (
            {"content-type": "text/plain"},
            {"content-type": "multipart/form-data"},
            {},
            {"content-type": "application/json", "content-encoding": "gzip"},
        ):
            response = await http.post("/v1/completions", content=b'{"prompt": "a"}', headers=headers)
            assert_error(response, 415)


async def test_large_bodies_are_not_read_to_their_end() -> None:
    sent = 0

    async def endless():
        nonlocal sent
        for _ in range(1000):
            sent += 10_000
            yield b" " * 10_000

    async with client(options=ServerOptions(max_body_bytes=50_000)) as http:
        headers = {"content-type": "application/json"}
        assert_error(await http.post("/v1/completions", content=b" " * 60_000, headers=headers), 413)
        assert_error(await http.post("/v1/completions", content=endless(), headers=headers), 413)
    assert sent < 100_000


async def test_routes_and_methods_that_do_not_exist() -> None:
    async with client() as http:
        assert_error(await http.get("/nope"), 404)
        assert_error(await http.get("//v1/models"), 404)
        assert_error(await http.get("/V1/models"), 404)
        assert_error(await http.post("/v1/completions/", json=COMPLETION), 404)
        assert_error(await http.get("/v1/completions"), 405)
        assert_error(await http.delete("/v1/models"), 405)
        assert (await http.delete("/ping")).headers["allow"] == "GET, HEAD, POST"
        assert (await http.get("/v1/completions")).headers["allow"] == "POST"
        assert_error(await http.get("/v1/models/../../etc/passwd"), 404)


async def test_tokens_refuse() -> None:
    async with client() as http:
        for body, param in (
            ({}, "prompt"),
            ({"prompt": 3}, "prompt"),
            ({"prompt": "a", "messages": CHAT["messages"]}, "prompt"),
            ({"messages": []}, "messages"),
            ({"messages": CHAT["messages"], "chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs"),
            ({"messages": CHAT["messages"], "tools": "f"}, "tools"),
            ({"messages": CHAT["messages"], "chat_template": "x"}, "chat_template"),
            (
                {"messages": CHAT["messages"], "add_generation_prompt": True, "continue_final_message": True},
                "continue_final_message",
            ),
        ):
            assert_error(await http.post("/tokenize", json=body), 400, param)
        for body in (
            {},
            {"tokens": ["a"]},
            {"tokens": [-1]},
            {"tokens": [512]},
            {"tokens": [2**32 + 5]},
            {"tokens": [True]},
        ):
            assert_error(await http.post("/detokenize", json=body), 400, "tokens")


async def test_the_context_error_has_openais_code() -> None:
    async with client() as http:
        error = assert_error(await http.post("/v1/completions", json={"prompt": [5] * 300}), 400, "prompt")
        assert error["code"] == "context_length_exceeded"
        error = assert_error(await http.post("/v1/completions", json={"prompt": "a", "model": "gpt-5"}), 404)
        assert error["code"] == "model_not_found"


async def test_request_ids_are_echoed_only_when_harmless() -> None:
    async with client() as http:
        assert (await http.get("/version", headers={"x-request-id": "my-id_1.2"})).headers[
            "x-request-id"
        ] == "my-id_1.2"
        for bad in ("", "a b", "a" * 10**4, "*", "é".encode()):
            given = (await http.get("/version", headers={"x-request-id": bad})).headers["x-request-id"]
            assert re.fullmatch("[0-9a-f]{32}", given)
        assert "x-request-id" in (await http.get("/nope")).headers
