"""/v1/files: what is uploaded is found again by its key only, and nothing gets out of its directory."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import httpx
import openai
import pytest

from jaxpaged import ConfigError
from server.files.store import FileStore
from server.flags import ServerOptions
from tests.fake_engine import FakeEngine
from tests.server.harness import client
from tests.server.scripted import openai_client

pytestmark = pytest.mark.anyio
CONTENT = b'{"custom_id": "1"}\n'


async def upload(
    http: httpx.AsyncClient, content: bytes = CONTENT, *, name: str = "in.jsonl", **fields
) -> httpx.Response:
    return await http.post("/v1/files", files={"file": (name, content)}, data={"purpose": "batch", **fields})


async def test_a_life_of_a_file_under_strict_validation(tmp_path: Path) -> None:
    async with openai_client(FakeEngine(), ServerOptions(files_dir=str(tmp_path / "a" / "b"))) as ai:
        made = await ai.files.create(file=("in.jsonl", CONTENT), purpose="batch")
        assert (made.bytes, made.filename, made.status, made.expires_at) == (19, "in.jsonl", "processed", None)
        later = {"anchor": "created_at", "seconds": 3600}
        brief = await ai.files.create(file=("x", b"a\n"), purpose="batch", expires_after=later)
        assert brief.expires_at == brief.created_at + 3600
        assert await ai.files.retrieve(made.id) == made
        assert (await ai.files.content(made.id)).read() == CONTENT
        assert [file.id async for file in ai.files.list()] == [brief.id, made.id]
        assert [file.id async for file in ai.files.list(limit=1, order="asc")] == [made.id, brief.id]
        assert [file.id async for file in ai.files.list(purpose="other")] == []
        assert (await ai.files.delete(made.id)).deleted
        for attempt in (ai.files.retrieve(made.id), ai.files.content(made.id), ai.files.delete(made.id)):
            with pytest.raises(openai.NotFoundError):
                await attempt
    assert len(list((tmp_path / "a" / "b").iterdir())) == 2


async def test_files_outlive_a_restart_in_a_directory_of_ones_own(tmp_path: Path) -> None:
    options = ServerOptions(files_dir=str(tmp_path))
    async with client(options=options) as http:
        file_id = (await upload(http)).json()["id"]
    async with client(options=options) as http:
        assert (await http.get(f"/v1/files/{file_id}/content")).content == CONTENT


async def test_a_temporary_directory_is_private_and_ends_with_the_store() -> None:
    store = FileStore(None, 10**6)
    directory = store.directory
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    del store
    assert not directory.exists()


async def test_another_key_finds_nothing(tmp_path: Path) -> None:
    options = ServerOptions(api_keys=("key", "other"), files_dir=str(tmp_path))
    async with openai_client(FakeEngine(), options) as ai:
        made = await ai.files.create(file=("in.jsonl", CONTENT), purpose="batch")
        other = ai.with_options(api_key="other")
        assert [file async for file in other.files.list()] == []
        for attempt in (other.files.retrieve(made.id), other.files.content(made.id), other.files.delete(made.id)):
            with pytest.raises(openai.NotFoundError):
                await attempt
        assert (await ai.files.content(made.id)).read() == CONTENT


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..", "a\r\nb", 'a"b', "x" * 1000, "naïve 日本.jsonl"]
)
async def test_names_are_remembered_and_never_used(tmp_path: Path, name: str) -> None:
    async with client(options=ServerOptions(files_dir=str(tmp_path / "files"))) as http:
        made = (await upload(http, name=name)).json()
        content = await http.get(f"/v1/files/{made['id']}/content")
    assert "/" not in made["filename"]
    assert len(made["filename"]) <= 255
    assert content.content == CONTENT
    assert {path.name for path in tmp_path.iterdir()} == {"files"}
    assert {path.stem for path in (tmp_path / "files").iterdir()} == {made["id"]}


@pytest.mark.parametrize(
    "file_id", ["..", "../x", "%2e%2e%2fx", "file-", "x.json", "file-" + "0" * 32, "%00", "a" * 5000]
)
async def test_ids_that_are_not_ours(file_id: str) -> None:
    async with client() as http:
        for path in (f"/v1/files/{file_id}", f"/v1/files/{file_id}/content"):
            assert (await http.get(path)).status_code in (307, 404, 405) or path.endswith("..")
        assert (await http.delete(f"/v1/files/{file_id}")).status_code in (404, 405)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "assistants"}, "purpose"),
        ({"purpose": ""}, "purpose"),
        ({"expires_after[anchor]": "created_at"}, "expires_after"),
        ({"expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "expires_after"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "5"}, "expires_after"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "1e4"}, "expires_after"),
    ],
)
async def test_bad_fields(fields: dict, param: str) -> None:
    async with client() as http:
        answer = await upload(http, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_bad_forms() -> None:
    async with client() as http:
        assert (await http.post("/v1/files", json={})).status_code == 415
        bare = {"content-type": "multipart/form-data"}
        assert (await http.post("/v1/files", content=b"x", headers=bare)).status_code == 400
        named = {"content-type": "multipart/form-data; boundary=b"}
        for content in (b"", b"x", b"--b\r\n", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"):
            assert (await http.post("/v1/files", content=content, headers=named)).status_code == 400
        text = await http.post("/v1/files", data={"purpose": "batch"}, files={"other": ("x", b"a")})
        assert text.json()["error"]["param"] == "file"
        two = [("file", ("a", b"a")), ("file", ("b", b"b"))]
        assert (await http.post("/v1/files", data={"purpose": "batch"}, files=two)).status_code == 400
        many = {f"field{i}": "x" for i in range(10_000)}
        assert (await upload(http, **many)).status_code == 400
        long = await upload(http, purpose="x" * 10**5)
        assert long.status_code == 400
        assert (await http.get("/v1/files")).json()["data"] == []


async def test_an_upload_that_is_too_large_is_not_read_to_its_end() -> None:
    sent = 0

    async def endless():
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(1000):
            sent += 10_000
            yield b"x" * 10_000

    headers = {"content-type": "multipart/form-data; boundary=b"}
    async with client(options=ServerOptions(max_file_bytes=50_000)) as http:
        assert (await http.post("/v1/files", content=endless(), headers=headers)).status_code == 413
        assert (await upload(http, b"x" * 60_000)).status_code == 413
        assert (await upload(http, b"x" * 50_000)).status_code == 200
    assert sent < 200_000


async def test_the_room_for_all_files_is_bounded() -> None:
    async with client(options=ServerOptions(max_files_bytes=50)) as http:
        made = [await upload(http) for _ in range(3)]
        assert [answer.status_code for answer in made] == [200, 200, 413]
        assert made[2].json()["error"]["code"] == "no_room_for_files"
        await http.delete(f"/v1/files/{made[0].json()['id']}")
        assert (await upload(http)).status_code == 200


def test_files_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(str(tmp_path), 10**6)
    stored = store.new("me", "x", "batch", 3600)
    store.path(stored).write_bytes(CONTENT)
    store.keep(stored)
    assert len(store.list("me")) == 1
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
    assert store.list("me") == []
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_used_is_a_mistake_at_start_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="files_dir"):
        FileStore(str(tmp_path / "file" / "below"), 1)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=99999999999", "order=up", "after=nothing"])
async def test_bad_pages(query: str) -> None:
    async with client() as http:
        for path in ("/v1/files", "/v1/batches"):
            assert (await http.get(f"{path}?{query}")).status_code == 400
