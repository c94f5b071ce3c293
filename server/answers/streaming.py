"""Sending an answer, as one body or as server-sent events, and noticing that nobody listens any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from jaxpaged import OutputStream, RequestOutput
from server.answers.beside import beside, num_logprobs
from server.answers.dialect import Dialect, WholeDialect
from server.errors import (
    CLIENT_CLOSED,
    ERROR_EVENT,
    ApiError,
    as_api_error,
    error_event,
    error_response,
    json_response,
)

KEEP_ALIVE_SECONDS = 15.0
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
log = logging.getLogger("jaxpaged.server")


async def answer_whole(stream: OutputStream, dialect: WholeDialect, receive: Receive) -> Response:
    """One body, when all requests have ended. A client that goes away ends them."""
    logprobs = 0
    async with closing_on_disconnect(stream, receive) as client:
        while bundle := await stream.take():
            for output in bundle:
                check(output)
                logprobs += (held := output.num_logprobs())
                await beside(held, partial(dialect.note, output))
    if client.gone:
        return Response(status_code=CLIENT_CLOSED)  # nobody reads it; the access log shows its status
    return await beside(logprobs, lambda: json_response(200, dialect.body()))


class EventStream(Response):
    """Events as they come: everything that has come since the last write goes out in one.

    The status waits for the first output, so what is refused until then is an ordinary error. While nothing comes for
    long, comments keep proxies from closing the connection. `show_error` makes the event of an error in the middle, for
    dialects that do it in their own way; middleware finds it in the scope, as ERROR_EVENT.
    """

    def __init__(
        self, stream: OutputStream, dialect: Dialect, show_error: Callable[[Exception], bytes] | None = None
    ) -> None:
        super().__init__()
        self._show_error = show_error or error_event
        self._stream = stream
        self._dialect = dialect
        self._started = False
        self._quiet = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ERROR_EVENT] = self._show_error
        async with closing_on_disconnect(self._stream, receive) as client:
            try:
                await self._send_events(send)
                if not client.gone:
                    await send(_chunk(self._dialect.end()))
            except Exception as error:  # a client gets an event, whatever it is: the status has gone out
                if as_api_error(error).status == 500:
                    log.exception("a stream failed")
                if not self._started:
                    await error_response(error)(scope, receive, send)
                    return
                await send(_chunk(self._show_error(error)))
            if client.gone and not self._started:
                await Response(status_code=CLIENT_CLOSED)(scope, receive, send)
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_events(self, send: Send) -> None:
        outputs = await self._first_bundle(send)
        if not outputs:
            return  # the client has left
        await self._start(send)
        await send(_chunk(self._dialect.begin()))
        keeper = asyncio.create_task(self._keep_alive(send))
        try:
            while outputs:
                for output in outputs:
                    if output.finished:
                        check(output)
                await send(_chunk(await beside(num_logprobs(outputs), partial(self._events, outputs))))
                self._quiet = False
                outputs = await self._stream.take()
        finally:
            keeper.cancel()

    def _events(self, outputs: list[RequestOutput]) -> bytes:
        return b"".join(map(self._dialect.events, outputs))

    async def _keep_alive(self, send: Send) -> None:
        """Comments between events, after a pause of one to two intervals."""
        while True:
            self._quiet = True
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            if self._quiet:
                await send(_chunk(b": keep-alive\n\n"))

    async def _first_bundle(self, send: Send) -> list[RequestOutput]:
        first = asyncio.ensure_future(self._stream.take())
        try:
            while not (await asyncio.wait([first], timeout=KEEP_ALIVE_SECONDS))[0]:
                await self._start(send)
                await send(_chunk(b": keep-alive\n\n"))
        finally:
            if not first.done():
                first.cancel()
        for output in first.result():
            check(output)
        return first.result()

    async def _start(self, send: Send) -> None:
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})


@dataclass(slots=True)
class Client:
    """Who waits for an answer. `gone`: it left before the answer was whole."""

    gone: bool = False


@asynccontextmanager
async def closing_on_disconnect(stream: OutputStream, receive: Receive) -> AsyncIterator[Client]:
    """Close `stream` when the client goes away, and in any case at the end."""
    client = Client()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        client.gone = stream.is_running
        stream.close()

    watcher = asyncio.create_task(watch())
    try:
        yield client
    finally:
        watcher.cancel()
        stream.close()


def check(output: RequestOutput) -> None:
    """Raise ApiError for a request that the engine has failed, or that a shutdown has ended: no reason stands there."""
    if output.error is not None:
        raise ApiError(500, f"The request failed: {output.error}.", headers={"x-should-retry": "false"})
    if any(one.finish_reason == "abort" and one.stop_reason is None for one in output.outputs):
        raise ApiError(503, "The server is shutting down.", code="shutting_down")


def _chunk(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}
