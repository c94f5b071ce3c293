"""uvicorn's HTTP protocol with bounds on a request's head (its bytes, the time it may take to arrive) and on how long
a client may leave unread what is sent to it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from server.errors import ApiError

MAX_HEAD_BYTES = 256 * 1024
MAX_HEADERS = 256
HEAD_SECONDS = 30.0
WRITE_SECONDS = 30.0  # a client that reads nothing for so long has gone, as far as we can tell


class BoundedHttp(HttpToolsProtocol):
    """Answers what is not HTTP, too large or too slow in our error shape, and closes the connection."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._in_head = True
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        self._clear_write_deadline()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """What is not sent yet has reached uvicorn's bound: the client reads too slowly."""
        super().pause_writing()
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._clear_write_deadline()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head and self._deadline is None:  # a further request on a connection that was kept
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(ApiError(431, "The request's headers are too large."))

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._clear_deadline()
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            self._refuse(ApiError(400, "This server speaks HTTP/1.1."))
        elif len(self.headers) > MAX_HEADERS:
            self._refuse(ApiError(431, f"The request has more than {MAX_HEADERS} headers."))
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(ApiError(400, "This is not a valid HTTP request."))

    def _too_slow(self) -> None:
        self._refuse(ApiError(408, "The request's headers took too long to arrive."))

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _clear_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _refuse(self, error: ApiError) -> None:
        self._clear_deadline()
        if self._refused:
            return
        self._refused = True
        body = msgspec.json.encode(error.body())
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()
