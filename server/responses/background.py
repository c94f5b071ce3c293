"""Responses in the background: answered although nobody waits, found again by their ids, and cancelled by them."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxpaged import OutputStream
from server.answers.beside import beside
from server.answers.streaming import check
from server.errors import ApiError, as_api_error
from server.responses.dialect import ResponsesDialect

log = logging.getLogger("jaxpaged.server")


@dataclass(frozen=True, slots=True)
class Running:
    """An answer that is being made."""

    dialect: ResponsesDialect
    stream: OutputStream
    task: asyncio.Task[None]


class BackgroundResponses:
    """Owner of those that run, no more than the engine's queue takes. Each may take `seconds`; None: any time.

    A response is stored when it begins and again when it has ended, however it did.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._running: dict[str, Running] = {}

    def begin(self, response_id: str, stream: OutputStream, dialect: ResponsesDialect) -> dict[str, Any]:
        """The response as it begins; the answer goes on by itself."""
        # a context of its own: the record of the request that began it ends before
        task = asyncio.create_task(self._finish(stream, dialect), name=response_id, context=Context())
        self._running[response_id] = Running(dialect, stream, task)
        task.add_done_callback(lambda _: self._running.pop(response_id, None))
        return dialect.keep("queued")

    def is_running(self, response_id: str) -> bool:
        return response_id in self._running

    def cancel(self, response_id: str) -> dict[str, Any]:
        """End one that runs, and give its last state; what it has so far is kept."""
        running = self._running.pop(response_id)
        running.task.cancel()
        running.stream.close()
        return running.dialect.keep("cancelled")

    async def _finish(self, stream: OutputStream, dialect: ResponsesDialect) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                while bundle := await stream.take():
                    for output in bundle:
                        check(output)
                        await beside(output.num_logprobs(), partial(dialect.note, output))
            dialect.body()
        except TimeoutError:
            dialect.keep("failed", ApiError(504, f"The response took longer than {self._seconds:g} seconds."))
        except Exception as error:  # nobody waits here who could be told: it is stored
            if as_api_error(error).status == 500:
                log.exception("a response in the background failed")
            dialect.keep("failed", error)
        finally:
            stream.close()
