"""How long a request may take, from its head to its last byte: --request-timeout, or less by X-Request-Timeout."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import ERROR_EVENT, ApiError, bad_request, error_event, error_response

HEADER = b"x-request-timeout"


class Deadline:
    """ASGI middleware. What runs when the time is over is cancelled, and with it what it has asked of the engine.

    The client gets 504, or an error event when its stream has begun. `seconds` None sets no limit but the client's.
    """

    def __init__(self, app: ASGIApp, seconds: float | None) -> None:
        self._app = app
        self._most = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            seconds = _least(self._most, _asked(scope))
        except ApiError as error:
            await error_response(error)(scope, receive, send)
            return
        if seconds is None:
            await self._app(scope, receive, send)
        else:
            await self._run(seconds, scope, receive, send)

    async def _run(self, seconds: float, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send)
        try:
            async with asyncio.timeout(seconds) as limit:
                await self._app(scope, receive, answer.send)
        except TimeoutError:
            if not limit.expired() or answer.ended:
                raise
            await answer.end_with(_too_late(seconds), scope, receive)


class _Answer:
    """How far an answer has come."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False
        self.ended = False

    async def send(self, message: Message) -> None:
        await self._send(message)
        self._started = True
        self.ended = message["type"] == "http.response.body" and not message.get("more_body", False)

    async def end_with(self, error: ApiError, scope: Scope, receive: Receive) -> None:
        if not self._started:
            await error_response(error)(scope, receive, self._send)
            return
        # what starts before it is complete is a stream of events
        show_error = scope.get(ERROR_EVENT, error_event)
        await self._send({"type": "http.response.body", "body": show_error(error), "more_body": False})


def _asked(scope: Scope) -> float | None:
    values = [value for name, value in scope["headers"] if name == HEADER]
    if not values:
        return None
    try:
        seconds = float(values[0])
    except ValueError:
        seconds = 0.0
    if len(values) > 1 or not 0 < seconds < float("inf"):
        raise bad_request("X-Request-Timeout must be a positive number of seconds.", "X-Request-Timeout")
    return seconds


def _least(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _too_late(seconds: float) -> ApiError:
    message = f"The request took longer than the {seconds:g} seconds that it had."
    return ApiError(504, message, code="deadline_exceeded", headers={"x-should-retry": "false"})
