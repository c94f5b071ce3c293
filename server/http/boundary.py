"""The last resort: a bug of ours ends one request with a 500 that says nothing, and a log entry that says all."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import error_response

log = logging.getLogger("jaxpaged.server")


class ErrorBoundary:
    """ASGI middleware, inside RequestId."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception as error:  # whatever no route has foreseen is a 500, never a lost connection
            log.exception("%s %s failed", scope.get("method"), scope.get("path"))
            if started:
                raise
            await error_response(error)(scope, receive, send)
