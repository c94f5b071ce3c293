"""uvicorn with our beginning (say where it is) and our end (requests first, in bounded time)."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from jaxpaged import AsyncLLM
from server.http.certificates import Certificates, refresh_certificates
from server.http.protocol import BoundedHttp

NO_TLS = Certificates()
CLOSE_SECONDS = 2  # for connections that are open without a request


class HttpServer(uvicorn.Server):
    """Serves until SIGINT or SIGTERM; a second one ends at once."""

    def __init__(
        self,
        config: uvicorn.Config,
        llm: AsyncLLM,
        *,
        shutdown_timeout: float,
        on_start: Callable[[], None],
        certificates: Certificates = NO_TLS,
    ) -> None:
        """`on_start` is called once the socket listens; requests have `shutdown_timeout` seconds to end."""
        super().__init__(config)
        self._llm = llm
        self._shutdown_timeout = shutdown_timeout
        self._on_start = on_start
        self._certificates = certificates
        self._refreshing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._llm.watch()
        if self._certificates.refresh and isinstance(self.config.ssl, ssl.SSLContext):
            self._refreshing = asyncio.create_task(refresh_certificates(self.config.ssl, self._certificates))
        if self.started:
            self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """uvicorn would raise the signal again at the end; a stop that was asked for is a success."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._llm.stop_accepting()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new requests but listen on, let those in flight finish for a while, end the others, then close."""
        self._llm.stop_accepting()
        deadline = time.monotonic() + self._shutdown_timeout
        while self._llm.num_in_flight() and time.monotonic() < deadline and not self.force_exit:
            await asyncio.sleep(0.05)
        self._llm.abort_all()
        if self._refreshing is not None:
            self._refreshing.cancel()
        await super().shutdown(sockets=sockets)


def uvicorn_config(app: ASGIApp, *, log_level: str, certificates: Certificates = NO_TLS) -> uvicorn.Config:
    """uvicorn's settings."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        log_level=log_level,
        log_config=None,
        access_log=False,  # ours says more: logs.py
        server_header=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
        **certificates.for_uvicorn(),
    )
