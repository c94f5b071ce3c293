"""/v1/batches and its parts: every line becomes a record, in order, whatever the other lines are."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import openai
import pytest

from jaxpaged.errors import QueueFullError
from server.app import build_app
from server.batches.batch import Batch
from server.batches.lines import BadLine, Line, LineReader
from server.batches.ordered import in_order
from server.batches.runner import _count_lines
from server.batches.store import BatchStore
from server.files.store import FileStore
from server.flags import ServerOptions
from tests.fake_engine import FakeEngine
from tests.server.harness import async_llm, client, until
from tests.server.scripted import openai_client, saying

pytestmark = pytest.mark.anyio
URL = "/v1/chat/completions"
BODY = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}


def line(custom_id: object, url: object = URL, method: object = "POST", **body) -> bytes:
    request = {"custom_id": custom_id, "method": method, "url": url, "body": {**BODY, **body}}
    return json.dumps(request).encode() + b"\n"


async def finished(ai: openai.AsyncOpenAI, batch_id: str) -> openai.types.Batch:
    for _ in range(500):
        batch = await ai.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        await asyncio.sleep(0.01)
    raise AssertionError(batch)


async def run(ai: openai.AsyncOpenAI, content: bytes, url: str = URL, **fields) -> openai.types.Batch:
    file = await ai.files.create(file=("in.jsonl", content), purpose="batch")
    batch = await ai.batches.create(input_file_id=file.id, endpoint=url, completion_window="24h", **fields)
    assert batch.status == "validating"
    return await finished(ai, batch.id)


async def records(ai: openai.AsyncOpenAI, file_id: str | None) -> list[dict]:
    if file_id is None:
        return []
    return [json.loads(row) for row in (await ai.files.content(file_id)).text.splitlines()]


async def test_a_batch_under_strict_validation() -> None:
    async with openai_client(saying("hello world")) as ai:
        content = b"".join(line(f"request {i}", seed=i) for i in range(100))
        batch = await run(ai, content, metadata={"a": "b"})
        rows = await records(ai, batch.output_file_id)
        assert [known.id async for known in ai.batches.list(limit=1)] == [batch.id]
        assert (await ai.files.retrieve(batch.output_file_id)).purpose == "batch_output"
    assert (batch.status, batch.endpoint, batch.metadata) == ("completed", URL, {"a": "b"})
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (100, 100, 0)
    assert batch.error_file_id is None
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    assert [row["custom_id"] for row in rows] == [f"request {i}" for i in range(100)]
    for row in rows:
        assert row["error"] is None
        assert row["response"]["status_code"] == 200
        chat = openai.types.chat.ChatCompletion.model_validate(row["response"]["body"])
        assert chat.choices[0].message.content == "hello world"


async def test_bad_lines_fail_alone() -> None:
    bad = [
        (b"{\n", None, "invalid_json_line"),
        (b'{"custom_id": NaN}\n', None, "invalid_json_line"),
        (b"[1]\n", None, "invalid_json_line"),
        (b"[" * 100_000 + b"\n", None, "invalid_json_line"),
        (b"\xff\n", None, "invalid_json_line"),
        (line(3), None, "invalid_custom_id"),
        (line(""), None, "invalid_custom_id"),
        (line("a"), "a", "duplicate_custom_id"),
        (line("b", url="/admin"), "b", "invalid_url"),
        (line("c", url="/v1/completions"), "c", "invalid_url"),
        (line("d", url=["x"]), "d", "invalid_url"),
        (line("e", method="GET"), "e", "invalid_method"),
        (b'{"custom_id": "f", "url": "/v1/chat/completions", "body": 3}\n', "f", "invalid_body"),
        (line("g", messages=[{"role": "user", "content": "x" * 60_000}]), None, "line_too_long"),
    ]
    refused = [
        (line("h", stream=True), "h", 400),
        (line("i", temperature=3), "i", 400),
        (line("j", model="other"), "j", 404),
        (line("k", messages=[{"role": "user", "content": "hello " * 400}]), "k", 400),
    ]
    content = line("a") + b"\n  \n" + b"".join(row for row, *_ in bad + refused) + line("z").rstrip()
    async with openai_client(saying("hello world"), ServerOptions(max_body_bytes=50_000)) as ai:
        big = content.replace(b"[" * 100_000, b"[" * 40_000)
        batch = await run(ai, big)
        good = await records(ai, batch.output_file_id)
        failed = await records(ai, batch.error_file_id)
    assert batch.status == "completed"
    assert (batch.request_counts.total, batch.request_counts.completed) == (20, 2)
    assert [row["custom_id"] for row in good] == ["a", "z"]
    assert [(row["custom_id"], row["error"]["code"]) for row in failed[: len(bad)]] == [row[1:] for row in bad]
    for row, (_, custom_id, status) in zip(failed[len(bad) :], refused, strict=True):
        assert (row["custom_id"], row["response"]["status_code"]) == (custom_id, status)
        assert row["response"]["body"]["error"]["message"]


async def test_completions_and_embeddings_go_to_their_routes() -> None:
    async with openai_client(FakeEngine()) as ai:
        row = {"custom_id": "1", "url": "/v1/completions", "body": {"prompt": "hello world", "max_tokens": 2}}
        batch = await run(ai, json.dumps(row).encode(), "/v1/completions")
        (record,) = await records(ai, batch.output_file_id)
        assert record["response"]["body"]["choices"][0]["text"] == "hello world"
        row = {"custom_id": "1", "url": "/v1/embeddings", "body": {"input": "hello"}}
        batch = await run(ai, json.dumps(row).encode(), "/v1/embeddings")
        (record,) = await records(ai, batch.error_file_id)
        assert "embedding model" in record["response"]["body"]["error"]["message"]


@pytest.mark.parametrize("content", [b"", b"\n \n"])
async def test_a_file_without_lines_fails_as_a_whole(content: bytes) -> None:
    async with openai_client(FakeEngine()) as ai:
        batch = await run(ai, content)
    assert batch.status == "failed"
    assert "0 lines" in batch.errors.data[0].message


async def test_a_cancelled_batch_keeps_what_it_has() -> None:
    engine = FakeEngine(lambda request: [5] * (2 if request.params.seed == 1 else 200), max_model_len=4096)
    async with openai_client(engine, ServerOptions(batch_concurrency=4)) as ai:
        content = line("first", seed=1, max_tokens=2) + b"".join(
            line(f"{i}", max_tokens=200, messages=[{"role": "user", "content": "a"}]) for i in range(500)
        )
        file = await ai.files.create(file=("in.jsonl", content), purpose="batch")
        batch = await ai.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")
        while (await ai.batches.retrieve(batch.id)).request_counts.completed < 1:
            await asyncio.sleep(0.001)
        assert len(engine.requests) < 40
        assert (await ai.batches.cancel(batch.id)).status == "cancelling"
        batch = await finished(ai, batch.id)
        assert batch.status == "cancelled"
        assert (await records(ai, batch.output_file_id))[0]["custom_id"] == "first"
        await until(lambda: not engine.has_work())
        with pytest.raises(openai.BadRequestError, match="cancelled"):
            await ai.batches.cancel(batch.id)
        batch = await ai.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")
        await ai.batches.cancel(batch.id)
        assert (await finished(ai, batch.id)).status == "cancelled"


async def test_a_full_queue_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = async_llm(saying("hello world"))
    submit, refused = llm.submit, 0

    def sometimes(batch):
        nonlocal refused
        refused += 1
        if refused % 3:
            raise QueueFullError("The queue is full.")
        return submit(batch)

    monkeypatch.setattr(llm, "submit", sometimes)
    monkeypatch.setattr("server.batches.answering.RETRY_SECONDS", 0.001)
    async with client(llm=llm) as http:
        form = {"file": ("in.jsonl", b"".join(line(str(i)) for i in range(5)))}
        file_id = (await http.post("/v1/files", files=form, data={"purpose": "batch"})).json()["id"]
        body = {"input_file_id": file_id, "endpoint": URL, "completion_window": "24h"}
        batch = (await http.post("/v1/batches", json=body)).json()
        while batch["status"] != "completed":
            await asyncio.sleep(0.01)
            batch = (await http.get(f"/v1/batches/{batch['id']}")).json()
    assert batch["request_counts"] == {"total": 5, "completed": 5, "failed": 0}
    assert refused == 15


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input_file_id": None}, "input_file_id"),
        ({"input_file_id": "file-nope"}, "input_file_id"),
        ({"input_file_id": "../../etc/passwd"}, "input_file_id"),
        ({"endpoint": "/admin"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, "output_expires_after"),
    ],
)
async def test_refusals_name_the_field(change: dict, param: str) -> None:
    async with client() as http:
        form = {"file": ("in.jsonl", line("a"))}
        file_id = (await http.post("/v1/files", files=form, data={"purpose": "batch"})).json()["id"]
        body = {"input_file_id": file_id, "endpoint": URL, "completion_window": "24h", **change}
        answer = await http.post("/v1/batches", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].split(".")[0] == param


async def test_another_key_finds_nothing() -> None:
    async with openai_client(saying("hello"), ServerOptions(api_keys=("key", "other"))) as ai:
        batch = await run(ai, line("a"))
        other = ai.with_options(api_key="other")
        assert [known async for known in other.batches.list()] == []
        for attempt in (other.batches.retrieve(batch.id), other.batches.cancel(batch.id)):
            with pytest.raises(openai.NotFoundError):
                await attempt
        with pytest.raises(openai.BadRequestError):
            await other.batches.create(input_file_id=batch.input_file_id, endpoint=URL, completion_window="24h")


def test_a_restart_fails_what_was_unfinished_and_keeps_the_rest(tmp_path: Path) -> None:
    files = FileStore(str(tmp_path), 10**6)
    store = BatchStore(files, persistent=True)
    done, cut = Batch("batch_1", "me", URL, "file-1", {}), Batch("batch_2", "me", URL, "file-1", {})
    done.enter("completed")
    cut.enter("in_progress")
    store.put(done)
    store.put(cut)
    (tmp_path / "batch_3.json").write_text("{")
    (tmp_path / "batch_4.json").write_bytes((tmp_path / "batch_1.json").read_bytes())
    again = BatchStore(FileStore(str(tmp_path), 10**6), persistent=True)
    assert again.get("me", "batch_1").body() == done.body()
    assert {batch.id for batch in again.list("me")} == {"batch_1", "batch_2"}
    assert again.get("me", "batch_2").status == "failed"
    assert again.get("me", "batch_2").body()["errors"]["data"][0]["code"] == "server_restarted"


async def test_the_end_of_the_server_fails_what_runs(tmp_path: Path) -> None:
    async with openai_client(FakeEngine(step_seconds=0.01), ServerOptions(files_dir=str(tmp_path))) as ai:
        file = await ai.files.create(file=("in.jsonl", line("a", max_tokens=200)), purpose="batch")
        batch = await ai.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")
        while (await ai.batches.retrieve(batch.id)).status != "in_progress":
            await asyncio.sleep(0.001)
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == batch.id]
        task.cancel()
        batch = await finished(ai, batch.id)
    assert (batch.status, batch.errors.data[0].code) == ("failed", "server_stopped")


def test_long_lines_are_skipped_without_being_held() -> None:
    class Counted(io.BytesIO):
        most = 0

        def readline(self, size: int = -1) -> bytes:
            self.most = max(self.most, size)
            return super().readline(size)

    file = Counted(b"x" * 10**6 + b"\n" + line("a") + b"y" * 10**6)
    first, second, third = LineReader(file, (URL,), 1000)
    assert isinstance(first, BadLine)
    assert isinstance(second, Line)
    assert (second.number, second.custom_id) == (2, "a")
    assert isinstance(third, BadLine)
    assert file.most <= 2**16


@pytest.mark.parametrize(
    ("content", "count"), [(b"", 0), (b"\n \n", 0), (b"a", 1), (b"a\n\nb\n", 2), (b"a" * 10**6 + b"\nb", 2)]
)
def test_lines_are_counted(content: bytes, count: int) -> None:
    assert _count_lines(io.BytesIO(content)) == count


async def test_results_come_in_order_and_few_run_at_once() -> None:
    running = most = 0

    async def work(job: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (job % 7))
        running -= 1
        return job

    async def jobs():
        for job in range(200):
            yield job

    assert [result async for result in in_order(jobs(), work, 8)] == list(range(200))
    assert most == 8


def test_an_app_makes_no_directory_before_it_needs_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    llm = async_llm()
    build_app(llm)
    llm.shutdown()
    assert list(tmp_path.iterdir()) == []
