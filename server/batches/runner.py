"""Runs batches in the background, beside what clients ask for directly."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, nullcontext, suppress
from contextvars import Context
from typing import BinaryIO

from server.batches.answering import Record, answer_line
from server.batches.batch import DAY, Batch, Status
from server.batches.lines import BadLine, Line, LineReader
from server.batches.ordered import in_order
from server.batches.schema import BatchRequest
from server.batches.store import BatchStore
from server.errors import ApiError, bad_request
from server.files.store import FileStore, StoredFile
from server.files.upload import check_expiry
from server.serving import Serving

MAX_LINES = 50_000
MAX_LINE_BYTES = 8 * 2**20
MAX_UNFINISHED = 64
log = logging.getLogger("jaxpaged.server")


class BatchRunner:
    """At most options.batch_concurrency lines run at once, over all batches."""

    def __init__(self, serving: Serving, files: FileStore, batches: BatchStore) -> None:
        self._serving = serving
        self._files = files
        self._batches = batches
        self._running = asyncio.Semaphore(serving.options.batch_concurrency)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def create(self, owner: str, body: BatchRequest) -> Batch:
        """Begin a batch. Raises ApiError."""
        stored = self._input(owner, body.input_file_id)
        if self._batches.unfinished() >= MAX_UNFINISHED:
            raise ApiError(429, "Too many batches are on their way; wait for one.", headers={"Retry-After": "60"})
        expires = body.output_expires_after
        after = None if expires is None else check_expiry(expires.seconds, "output_expires_after")
        batch = Batch(f"batch_{uuid.uuid4().hex}", owner, body.endpoint, stored.id, dict(body.metadata or {}), after)
        self._batches.put(batch)
        # a context of its own: the observer of the request that began it must not see its lines
        task = asyncio.create_task(self._run(batch, stored), name=batch.id, context=Context())
        self._tasks[batch.id] = task
        task.add_done_callback(lambda _: self._forget(batch))
        return batch

    def cancel(self, batch: Batch) -> None:
        """End a batch; what has been answered is kept. Raises ApiError (400) when it has ended."""
        if batch.has_ended:
            raise bad_request(f"The batch is {batch.status}; it cannot be cancelled.", "batch_id")
        if batch.status != "cancelling":
            self._enter(batch, "cancelling")
            self._tasks[batch.id].cancel()

    def _input(self, owner: str, file_id: str) -> StoredFile:
        try:
            stored = self._files.get(owner, file_id)
        except ApiError as error:
            raise bad_request("input_file_id names no file.", "input_file_id") from error
        if stored.purpose != "batch":
            raise bad_request("input_file_id names a file of another purpose than batch.", "input_file_id")
        return stored

    def _enter(self, batch: Batch, status: Status) -> None:
        batch.enter(status)
        self._batches.put(batch)

    async def _run(self, batch: Batch, stored: StoredFile) -> None:
        """A cancelled task that nobody has asked to cancel is the end of the server."""
        outputs = _Outputs(self._files, batch)
        try:
            async with asyncio.timeout(DAY):
                await self._answer_all(batch, stored, outputs)
            self._enter(batch, "finalizing")
            outputs.keep()
            self._enter(batch, "completed")
            return
        except TimeoutError:
            batch.enter("expired")
        except asyncio.CancelledError:
            self._cut_off(batch)
        except ApiError as error:
            batch.fail(error.code or "invalid_file", error.message)
        except OSError:
            log.exception("%s failed", batch.id)
            batch.fail("server_error", "A file could not be read or written.")
        with suppress(OSError):  # what was written is worth keeping, whatever the end
            outputs.keep()
        self._batches.put(batch)

    def _cut_off(self, batch: Batch) -> None:
        if batch.status == "cancelling":
            batch.enter("cancelled")
        else:
            batch.fail("server_stopped", "The server stopped before the batch was done; create it again.")

    def _forget(self, batch: Batch) -> None:
        """A task that was cancelled before it began has done nothing."""
        del self._tasks[batch.id]
        if not batch.has_ended:
            self._cut_off(batch)
            self._batches.put(batch)

    async def _answer_all(self, batch: Batch, stored: StoredFile, outputs: _Outputs) -> None:
        path = self._files.path(stored)
        with path.open("rb") as file:
            batch.total = await asyncio.to_thread(_count_lines, file)
            if not 1 <= batch.total <= MAX_LINES:
                raise ApiError(
                    400, f"The file has {batch.total} lines; 1 to {MAX_LINES} are taken.", code="wrong_count"
                )
            file.seek(0)
            self._enter(batch, "in_progress")
            options = self._serving.options
            reader = LineReader(file, (batch.endpoint,), min(MAX_LINE_BYTES, options.max_body_bytes))
            async with aclosing(answered(self._serving, reader, options.batch_concurrency, self._running)) as records:
                async for record in records:
                    outputs.write(record)


async def answered(
    serving: Serving, reader: LineReader, concurrency: int, running: asyncio.Semaphore | None = None
) -> AsyncGenerator[Record]:
    """The records of all lines, in their order; at most `concurrency` lines run, and as `running` lets them."""

    async def work(line: Line | BadLine) -> Record:
        async with running or nullcontext():
            return await answer_line(serving, line)

    async with aclosing(in_order(_lines(reader), work, concurrency)) as records:
        async for record in records:
            yield record


async def _lines(reader: LineReader) -> AsyncIterator[Line | BadLine]:
    while (line := await asyncio.to_thread(reader.next)) is not None:
        yield line


class _Outputs:
    """The output and error files of a batch, made when there is something to write."""

    def __init__(self, files: FileStore, batch: Batch) -> None:
        self._files = files
        self._batch = batch
        self._open: dict[bool, tuple[StoredFile, BinaryIO]] = {}

    def write(self, record: Record) -> None:
        if record.ok not in self._open:
            self._open[record.ok] = self._new("output" if record.ok else "error")
        self._open[record.ok][1].write(record.line)
        if record.ok:
            self._batch.completed += 1
        else:
            self._batch.failed += 1

    def keep(self) -> None:
        """Close both and let clients find them."""
        for ok, (stored, file) in self._open.items():
            file.close()
            self._files.keep(stored)
            if ok:
                self._batch.output_file_id = stored.id
            else:
                self._batch.error_file_id = stored.id

    def _new(self, kind: str) -> tuple[StoredFile, BinaryIO]:
        batch = self._batch
        name = f"{batch.id}_{kind}.jsonl"
        stored = self._files.new(batch.owner, name, "batch_output", batch.output_expires_after)
        return stored, self._files.path(stored).open("xb")


def _count_lines(file: BinaryIO) -> int:
    """Lines that are not blank, however long."""
    count, began = 0, False
    while piece := file.readline(2**16):
        began = began or bool(piece.strip())
        if piece.endswith(b"\n"):
            count += began
            began = False
    return count + began
