"""prompt_embeds over HTTP: the bytes of a file of numbers, in base64; never a program, never what is not there."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from tests.fake_engine import FakeEngine
from tests.server.harness import async_llm, client

pytestmark = pytest.mark.anyio
EMBEDS = np.arange(12, dtype=np.float32).reshape(3, 4) / 8
HUGE = b"(%d, 0), }" % 10**30


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def npy(array: np.ndarray, **kwargs) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **kwargs)
    return file.getvalue()


def enabled(engine: FakeEngine):
    llm = async_llm(engine)
    llm.config = replace(llm.config, model=replace(llm.config.model, enable_prompt_embeds=True))
    llm._input._config = llm.config
    return llm


async def test_both_formats_and_every_float_arrive() -> None:
    engine = FakeEngine()
    sent = [npy(EMBEDS), npy(EMBEDS.astype(np.float64)), npy(np.asfortranarray(EMBEDS)), save({"e": EMBEDS})]
    sent.append(npy(EMBEDS.astype(np.float16)))
    async with client(llm=enabled(engine)) as http:
        for data in sent:
            answer = await http.post("/v1/completions", json={"prompt_embeds": b64(data), "max_tokens": 2})
            assert (answer.status_code, answer.json()["usage"]["prompt_tokens"]) == (200, 3), answer.text
        body = {"prompt_embeds": [b64(sent[0])] * 2, "prompt": "hello", "max_tokens": 2}
        assert len((await http.post("/v1/completions", json=body)).json()["choices"]) == 3
    got = [np.frombuffer(request.prompt_embeds, np.float32).reshape(3, 4) for request in engine.requests[:7]]
    assert all(np.array_equal(one, EMBEDS) for one in got)
    assert engine.requests[7].prompt_embeds is None


@pytest.mark.parametrize(
    "data",
    [
        b"", b"nonsense", npy(EMBEDS)[:-1], npy(EMBEDS) + b"x", npy(EMBEDS)[:20],
        npy(EMBEDS).replace(b"(3, 4)", b"(9, 4)"), npy(np.array([["a"]])), npy(EMBEDS.astype(np.int32)),
        npy(np.array([{"a": 1}], dtype=object), allow_pickle=True),
        npy(EMBEDS * np.nan), npy(EMBEDS[0]), npy(EMBEDS[:0]),
        save({"a": EMBEDS, "b": EMBEDS}), save({"a": EMBEDS})[:-3],
        npy(EMBEDS).replace(b"(3, 4), ", b"(-3,-4),"), npy(np.zeros(3, "V0")),
        npy(EMBEDS).replace(b"(3, 4), }".ljust(len(HUGE)), HUGE)[: -EMBEDS.nbytes],
        b"\xff" * 100, b"PK\x03\x04" + b"\0" * 100, b"\x93NUMPY\x01\x00\xff\xff{" + b"(" * 65_000,
        npy(np.zeros((300, 4), np.float32)),
    ],
)  # fmt: skip
async def test_what_is_no_such_file_is_400(data: bytes) -> None:
    engine = FakeEngine()
    async with client(llm=enabled(engine)) as http:
        answer = await http.post("/v1/completions", json={"prompt_embeds": b64(data), "max_tokens": 2})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] in ("prompt_embeds", "prompt")
        assert (await http.post("/v1/completions", json={"prompt": "hello", "max_tokens": 2})).status_code == 200
    assert len(engine.requests) == 1


async def test_where_it_is_off_or_does_not_fit_it_is_refused_by_name() -> None:
    body = {"prompt_embeds": b64(npy(EMBEDS)), "max_tokens": 2}
    async with client() as http:
        for path in ("/v1/completions", "/v1/completions/render", "/invocations"):
            refused = await http.post(path, json=body)
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt_embeds")
    async with client(llm=enabled(FakeEngine())) as http:
        lost = await http.post("/v1/completions/render", json=body)  # its token ids would be zeros
        assert (lost.status_code, lost.json()["error"]["param"]) == (400, "prompt_embeds")
        for change, param in (({"echo": True}, "echo"), ({"use_beam_search": True}, "use_beam_search")):
            assert (await http.post("/v1/completions", json={**body, **change})).json()["error"]["param"] == param
        for bad in ([], "*", [3], {}, [body["prompt_embeds"]] * 65):
            assert (await http.post("/v1/completions", json={"prompt_embeds": bad})).status_code == 400
