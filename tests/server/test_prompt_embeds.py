"""prompt_embeds over HTTP: the bytes of a file of numbers, in base64; never a program, never what is not there."""

from __future__ import annotations

import base64
import io
import pickle
import threading
import zipfile
from contextlib import suppress
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save

from jaxpaged import RequestError, read_embeds
from jaxpaged.weights.torch_file import OLD_FORMAT
from server.openai import embeds
from tests.fake_engine import FakeEngine
from tests.server.harness import async_llm, client
from tests.weights import torch_zip
from tests.weights.test_torch_damage import Evil

pytestmark = pytest.mark.anyio
EMBEDS = np.arange(12, dtype=np.float32).reshape(3, 4) / 8
HUGE = b"(%d, 0), }" % 10**30


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def npy(array: np.ndarray, **kwargs) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **kwargs)
    return file.getvalue()


def torch(index: bytes, record: bytes = EMBEDS.tobytes(), **members: bytes) -> bytes:
    file = io.BytesIO()
    torch_zip.write_archive(file, index, {"0": record}, **members)
    return file.getvalue()


def saved(array: np.ndarray, shape: tuple[int, ...] | None = None, strides: tuple[int, ...] = (4, 1)) -> bytes:
    storage = torch_zip.storage(torch_zip.KINDS[array.dtype.name], "0", array.size)
    view = torch_zip.view(storage, shape or array.shape, strides)
    return torch(torch_zip.START + view + torch_zip.END, array.tobytes())


def enabled(engine: FakeEngine):
    llm = async_llm(engine)
    llm.config = replace(llm.config, model=replace(llm.config.model, enable_prompt_embeds=True))
    llm._input._config = llm.config
    return llm


async def test_both_formats_and_every_float_arrive() -> None:
    engine = FakeEngine()
    sent = [npy(EMBEDS), npy(EMBEDS.astype(np.float64)), npy(np.asfortranarray(EMBEDS)), save({"e": EMBEDS})]
    sent.append(npy(EMBEDS.astype(np.float16)))
    sent += [saved(EMBEDS.astype(kind)) for kind in ("float32", "float16", "float64", ml_dtypes.bfloat16)]
    sent += [saved(EMBEDS.T.copy(), (3, 4), (1, 3)), saved(EMBEDS, (1, 3, 4), (12, 4, 1)), npy(EMBEDS[None])]
    async with client(llm=enabled(engine)) as http:
        for data in sent:
            answer = await http.post("/v1/completions", json={"prompt_embeds": b64(data), "max_tokens": 2})
            assert (answer.status_code, answer.json()["usage"]["prompt_tokens"]) == (200, 3), answer.text
        body = {"prompt_embeds": [b64(sent[0])] * 2, "prompt": "hello", "max_tokens": 2}
        assert len((await http.post("/v1/completions", json=body)).json()["choices"]) == 3
    got = [
        np.frombuffer(request.prompt_embeds, np.float32).reshape(3, 4) for request in engine.requests[: len(sent) + 2]
    ]
    assert all(np.array_equal(one, EMBEDS) for one in got)
    assert engine.requests[len(sent) + 2].prompt_embeds is None


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


def hostile(tmp_path) -> dict[str, bytes]:
    whole, evil = saved(EMBEDS), Evil(tmp_path / "ran")
    cuts = {f"cut at {size}": whole[:size] for size in range(2, len(whole) - 1, 37)}
    state = torch_zip.index_of({"a": torch_zip.view(torch_zip.storage("Float", "0", 12), (3, 4), (4, 1))})
    deflated = io.BytesIO()
    with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"N" * 10**7)
    crowd = io.BytesIO()
    with zipfile.ZipFile(crowd, "w") as archive:
        for number in range(2000):
            archive.writestr(f"archive/data/{number}", b"")
    return {
        **cuts,
        "a program": torch(pickle.dumps(evil, 2)),
        "a program in a tuple": torch(pickle.dumps((EMBEDS.tobytes(), evil), 4)),
        "a program by itself": pickle.dumps(evil, 2),
        "before torch 1.6": OLD_FORMAT + b"x" * 100,
        "a dictionary": torch(state),
        "no tensor": torch(torch_zip.START + b"N" + torch_zip.END),
        "integers": saved(EMBEDS.astype(np.int32)),
        "one axis": saved(EMBEDS, (12,), (1,)),
        "four axes": saved(EMBEDS, (1, 1, 3, 4), (12, 12, 4, 1)),
        "beyond the storage": saved(EMBEDS, (4, 4)),
        "repeated without end": saved(EMBEDS, (1 << 40, 1 << 7), (0, 0)),
        "no numbers": saved(EMBEDS, (0, 4), (4, 1)),
        "not finite": saved(EMBEDS * np.nan),
        "big endian": torch(whole_index(), byteorder=b"big"),
        "a small record": torch(whole_index(), b"abc"),
        "a long index": torch(torch_zip.START + b"N" * 10_000 + torch_zip.END),
        "a bomb": deflated.getvalue(),
        "many members": crowd.getvalue(),
    }


def whole_index() -> bytes:
    return torch_zip.START + torch_zip.view(torch_zip.storage("Float", "0", 12), (3, 4), (4, 1)) + torch_zip.END


async def test_what_torch_would_not_have_saved_is_400_and_runs_nothing(tmp_path) -> None:
    engine = FakeEngine()
    async with client(llm=enabled(engine)) as http:
        for name, data in hostile(tmp_path).items():
            answer = await http.post("/v1/completions", json={"prompt_embeds": b64(data), "max_tokens": 2})
            assert answer.status_code == 400, name
            error = answer.json()["error"]
            assert error["param"] in ("prompt_embeds", "prompt"), name
            assert "\n" not in error["message"], name
            assert len(error["message"]) < 400, name
    assert not (tmp_path / "ran").exists()
    assert not engine.requests


def test_any_other_byte_gives_a_sentence_or_numbers() -> None:
    whole, rng = saved(EMBEDS), np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            changed[place] = rng.integers(0, 256)
        with suppress(RequestError):
            assert read_embeds(bytes(changed)).dtype == np.float32


async def test_large_ones_are_read_beside_the_event_loop(monkeypatch) -> None:
    threads: list[str] = []
    real = embeds.read_embeds

    def read(data: bytes) -> np.ndarray:
        threads.append(threading.current_thread().name)
        return real(data)

    monkeypatch.setattr(embeds, "read_embeds", read)
    async with client(llm=enabled(FakeEngine())) as http:
        for size in (3, 20_000):  # longer than the context
            data = b64(saved(np.zeros((size, 4), np.float32)))
            answer = await http.post("/v1/completions", json={"prompt_embeds": data, "max_tokens": 2})
            assert answer.status_code == (200 if size == 3 else 400)
    assert [name == threading.main_thread().name for name in threads] == [True, False]
