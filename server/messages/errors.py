"""Anthropic's envelope for every error on its routes, whoever has answered: a route, the key check, the router."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import ApiError

PATH = "/v1/messages"
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def anthropic_error(error: ApiError) -> dict[str, Any]:
    """The body of an answer that is not a success."""
    return _envelope(error.status, error.body()["error"])


def _envelope(status: int, error: dict[str, Any]) -> dict[str, Any]:
    """Anthropic has no place for the field that is wrong but the message."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    message, param = error["message"], error["param"]
    if param and param.partition(".")[0] not in message:
        message = f"{param}: {message}"
    return {"type": "error", "error": {"type": kind, "message": message}}


class AnthropicErrors:
    """ASGI middleware, outside all that answers with OpenAI's envelope. It also repeats x-request-id as request-id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_ours(scope["path"]):
            await self._app(scope, receive, send)
            return
        held: list[Message] = []  # the start of an error, until its body is here

        async def translate(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_request_id(message["headers"])]
                if message["status"] >= 400:
                    held.append(message)
                    return
            elif held:
                start = held.pop()
                message = {**message, "body": _translated(start["status"], message.get("body", b""))}
                start["headers"] = _with_length(start["headers"], len(message["body"]))
                await send(start)
            await send(message)

        await self._app(scope, receive, translate)


def _is_ours(path: str) -> bool:
    return path == PATH or path.startswith(PATH + "/")


def _request_id(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(b"request-id", value) for name, value in headers if name == b"x-request-id"]


def _translated(status: int, body: bytes) -> bytes:
    """Our errors are one JSON object in one piece (errors.error_response)."""
    error = msgspec.json.decode(body)["error"] if body else {"message": "The request failed.", "param": None}
    return msgspec.json.encode(_envelope(status, error))


def _with_length(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name != b"content-length"]
    return [*kept, (b"content-length", b"%d" % length)]
