"""uvicorn's HTTP protocol with bounds on a request's head (its bytes, the time it may take to arrive) and on how long
a client may leave unread what is sent to it. A client that has closed its own half still gets its answer."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from server.errors import ApiError
from server.http.patience import Patience

MAX_HEAD_BYTES = 256 * 1024
MAX_HEADERS = 256
HEAD_SECONDS = 30.0
WRITE_SECONDS = 30.0  # a client that reads nothing for so long has gone, as far as we can tell
# A FIN may mean that a client has sent all or that it is gone; who is gone answers what is written to it with a reset,
# which the next write meets. An interim answer may be written at any time before the real one (RFC 9110, 15.2).
PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"
PROBE_DELAYS = (0.2, 1.0)


class Part(Enum):
    """Where the parser is in what the client sends."""

    BETWEEN = "between requests"
    HEAD = "head"
    BODY = "body"


class BoundedHttp(HttpToolsProtocol):
    """Answers what is not HTTP, too large or too slow in our error shape, and closes the connection."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._part = Part.BETWEEN
        self._head_bytes = 0  # of what the parser has named
        self._unparsed_bytes = 0  # of reads that lie within a head
        self._deadline: asyncio.TimerHandle | None = None
        self._patience = Patience(self.loop, lambda: self.transport.abort(), WRITE_SECONDS)
        self._half_closed = False
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        self._patience.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """What is not sent yet has reached uvicorn's bound: the client reads too slowly."""
        super().pause_writing()
        self._patience.wait()

    def resume_writing(self) -> None:
        self._patience.end()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._part is not Part.BODY and self._deadline is None:  # a further request on a connection that was kept
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)
        within_head = self._part is Part.HEAD
        super().data_received(data)
        if self._part is Part.HEAD and within_head:
            self._unparsed_bytes += len(data)
            self._check_head_size(self._unparsed_bytes)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Keep the connection of a client that has sent whole requests and waits for answers. (TLS cannot do so.)"""
        waits = self.cycle is not None and not self.cycle.response_complete
        if self._part is not Part.BETWEEN or not waits or self.scheme == "https":
            return None
        self._half_closed = True
        self._probe(PROBE_DELAYS)
        return True

    def on_message_begin(self) -> None:
        self._part, self._head_bytes, self._unparsed_bytes = Part.HEAD, 0, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        self._part = Part.BODY
        self._clear_deadline()
        self._check_head_size(self._head_bytes)
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            self._refuse(ApiError(400, "This server speaks HTTP/1.1."))
        elif len(self.headers) > MAX_HEADERS:
            self._refuse(ApiError(431, f"The request has more than {MAX_HEADERS} headers."))
        elif not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._part = Part.BETWEEN
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self._patience.renew()
        if self._half_closed and not self.pipeline:
            self.transport.close()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(ApiError(400, "This is not a valid HTTP request."))

    def _check_head_size(self, size: int) -> None:
        if size > MAX_HEAD_BYTES:
            self._refuse(ApiError(431, "The request's headers are too large."))

    def _probe(self, delays: tuple[float, ...]) -> None:
        """Find out whether somebody still reads, while no answer has begun that would show it."""
        cycle = self.cycle
        if (
            self.transport.is_closing()
            or self.pipeline
            or cycle.response_started
            or cycle.scope["http_version"] == "1.0"
        ):
            return
        self.transport.write(PROBE)
        if delays:
            self.loop.call_later(delays[0], self._probe, delays[1:])

    def _too_slow(self) -> None:
        self._refuse(ApiError(408, "The request's headers took too long to arrive."))

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, error: ApiError) -> None:
        self._clear_deadline()
        if self._refused:
            return
        self._refused = True
        body = msgspec.json.encode(error.body())
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()
