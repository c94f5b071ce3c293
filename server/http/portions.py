"""Large bodies go out in portions, so that what a slow reader leaves unread is not copied into the socket's buffer."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PORTION_BYTES = 64 * 1024


class Portions:
    """ASGI middleware, the outermost: the server waits after each portion until the client has room for more."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_portions(message: Message) -> None:
            body = message.get("body", b"")
            if len(body) <= PORTION_BYTES:
                await send(message)
                return
            last = len(body) - PORTION_BYTES
            for start in range(0, len(body), PORTION_BYTES):
                more = start < last or message.get("more_body", False)
                await send({**message, "body": body[start : start + PORTION_BYTES], "more_body": more})

        await self._app(scope, receive, send_portions)
