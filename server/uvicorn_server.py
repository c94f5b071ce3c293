"""uvicorn, told how to begin (say where it is) and how to end (requests first, in bounded time)."""

from __future__ import annotations

import argparse
import asyncio
import socket
import time
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from jaxpaged import AsyncLLM
from server.http_protocol import BoundedHttp
from server.logs import say
from server.serving import ServerOptions

CLOSE_SECONDS = 2  # for connections that are open without a request


class HttpServer(uvicorn.Server):
    """Serves until SIGINT or SIGTERM; a second one ends at once."""

    def __init__(self, config: uvicorn.Config, llm: AsyncLLM, options: ServerOptions, url: str) -> None:
        super().__init__(config)
        self._llm = llm
        self._options = options
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._llm.watch()
        if self.started:
            text = greeting(self._url, self._llm.model_name, key=bool(self._options.api_keys))
            if self._options.log_format == "json":
                text = f"serving {self._llm.model_name} at {self._url}"
            say(self._options.log_format, text, url=self._url, model=self._llm.model_name)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """uvicorn would raise the signal again at the end; a stop that was asked for is a success."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._llm.stop_accepting()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new requests but listen on, let those in flight finish for a while, end the others, then close."""
        self._llm.stop_accepting()
        deadline = time.monotonic() + self._options.shutdown_timeout
        while self._llm.num_in_flight() and time.monotonic() < deadline and not self.force_exit:
            await asyncio.sleep(0.05)
        self._llm.abort_all()
        await super().shutdown(sockets=sockets)


def uvicorn_config(app: ASGIApp, args: argparse.Namespace) -> uvicorn.Config:
    """uvicorn's settings."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        log_level=args.uvicorn_log_level,
        log_config=None,
        access_log=False,  # ours says more: logs.py
        server_header=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
        ssl_keyfile=args.ssl_keyfile,
        ssl_certfile=args.ssl_certfile,
    )


def greeting(url: str, model: str, *, key: bool) -> str:
    """What a user needs next."""
    header = " -H 'Authorization: Bearer YOUR_KEY'" if key else ""
    body = '{"messages": [{"role": "user", "content": "Hello!"}]}'
    return (
        f"\njaxpaged serves {model} at {url}/v1   (docs: {url}/docs, metrics: {url}/metrics)\n"
        f"Chat in a browser: {url}/\nTry:\n"
        f"  curl {url}/v1/chat/completions -H 'Content-Type: application/json'{header} \\\n    -d '{body}'\n"
        "Ctrl-C stops it.\n"
    )
