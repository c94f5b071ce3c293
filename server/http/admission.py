"""Whether and when a request may come in, before its body is read: overload must not cost what it cannot serve."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from jaxpaged import AsyncLLM, JaxPagedError
from server.errors import error_response
from server.http.turnstile import Turnstile

REQUESTS_A_TURN = 8  # some milliseconds of the event loop
GENERATING = frozenset(
    (
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/chat/completions/batch",
        "/v1/responses",
        "/v1/messages",
        "/inference/v1/generate",
        "/invocations",
    )
)


class Admission:
    """ASGI middleware, inside Auth: 503 at once when the queue is full, the server drains or the engine is away.

    Of many that come together the others wait for later turns of the event loop, which serves streams between them.
    """

    def __init__(self, app: ASGIApp, llm: AsyncLLM) -> None:
        self._app = app
        self._llm = llm
        self._turnstile = Turnstile(REQUESTS_A_TURN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in GENERATING:
            try:
                self._llm.check_capacity()
            except JaxPagedError as error:
                await error_response(error)(scope, receive, send)
                return
            await self._turnstile.enter()
        await self._app(scope, receive, send)
