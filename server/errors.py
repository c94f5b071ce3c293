"""Every answer that is not a success: one shape, {"error": {"message", "type", "param", "code"}}, from one function.

Nothing of the inside (paths, addresses, tracebacks) gets into a message: what we did not foresee is "internal error" to
the client and a traceback in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from jaxpaged import (
    ConfigError,
    EngineDeadError,
    EngineRestartingError,
    JaxPagedError,
    QueueFullError,
    RequestError,
    ShuttingDownError,
)

ERROR_EVENT = "jaxpaged.error_event"  # in an ASGI scope: how the answer under way shows an error in its middle
CLIENT_CLOSED = 499  # nginx's status for a client that left before it got one
RETRY_AFTER_SECONDS = 1
RESTART_SECONDS = 5  # a guess at how long an engine takes to come back
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    500: "internal_error",
    503: "service_unavailable",
    504: "timeout_error",
}
_MESSAGES = {
    404: "There is no such route here; see /docs for those that exist.",
    405: "This route does not take this method; see /docs.",
}


# Fields of several kinds, of which pydantic would name the first only.
_UNIONS = {
    "prompt": "a text, a list of token ids, or a list of either",
    "stop": "a text or a list of texts",
    "content": "a text or a list of parts",
    "input": "a text, or a list of what this route takes (see /docs)",
    "query": "a text or an object with content",
    "documents": "a list of texts or of objects with content",
    "output": "a text or a list of parts",
    "system": "a text or a list of text blocks",
    "tool_choice": "a text or an object",
}


class ApiError(Exception):
    """An answer that is not a success, ready to be sent."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "internal_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def bad_request(message: str, param: str | None = None) -> ApiError:
    """400: the request is at fault."""
    return ApiError(400, message, param=param)


def as_api_error(error: Exception) -> ApiError:
    """Any exception as the answer that it deserves."""
    match error:
        case ApiError():
            return error
        case ShuttingDownError():
            return ApiError(503, str(error), code="shutting_down", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        case QueueFullError():
            return _overloaded(error)
        case RequestError():
            code = "context_length_exceeded" if "context" in str(error) and error.param == "prompt" else None
            return ApiError(400, str(error), param=error.param, code=code)
        case EngineRestartingError():
            return ApiError(
                503,
                "The engine is not running; it is being started again. Try again in some seconds.",
                code="engine_restarting",
                headers={"Retry-After": str(RESTART_SECONDS)},
            )
        case EngineDeadError():
            return ApiError(503, "The engine is not running.", code="engine_dead", headers={"x-should-retry": "false"})
        case HTTPException():
            message = _MESSAGES.get(error.status_code, str(error.detail))
            return ApiError(error.status_code, message, headers=error.headers)
        case RequestValidationError() | ValidationError():
            return _invalid(error)
        case JaxPagedError() if not isinstance(error, ConfigError):
            return ApiError(500, str(error), headers={"x-should-retry": "false"})
    return ApiError(500, "Internal error; the server's log says more.", headers={"x-should-retry": "false"})


def json_response(status: int, body: object, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


def error_event(error: Exception) -> bytes:
    """An error in the middle of a stream. No end mark follows: the answer is not complete."""
    return b"data: %b\n\n" % msgspec.json.encode(as_api_error(error).body())


def error_response(error: Exception) -> Response:
    """The answer to a request that failed with `error`."""
    answer = as_api_error(error)
    return json_response(answer.status, answer.body(), answer.headers)


def install_error_handlers(app: FastAPI) -> None:
    """Route the exceptions that we raise on purpose through error_response(); boundary.py has the others."""

    async def handle(request: Request, error: Exception) -> Response:
        response = error_response(error)
        if response.status_code == 405:
            response.headers["Allow"] = ", ".join(_methods_of(app, request.scope["path"]))
        return response

    for kind in (ApiError, JaxPagedError, HTTPException, RequestValidationError, ValidationError):
        app.add_exception_handler(kind, handle)


def _methods_of(app: FastAPI, path: str) -> list[str]:
    """All that a path takes; each route knows only its own."""
    routes = [route for route in iter_route_contexts(app.routes) if route.path_regex.match(path)]
    methods = {method for route in routes for method in route.methods or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _overloaded(error: QueueFullError) -> ApiError:
    return ApiError(503, str(error), code="queue_full", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _invalid(error: RequestValidationError | ValidationError) -> ApiError:
    """The first thing that pydantic found wrong, without the input that it quotes."""
    found = [(_path(one["loc"]), one) for one in error.errors()]
    inside = [pair for pair in found if _is_inside_an_item(pair[0])]
    path, first = max(inside, key=lambda pair: len(pair[0]), default=found[0])
    param = ".".join(path) or None
    is_sentence = param is None or first["msg"].startswith(f"{param} ")  # says which field, as ours do
    message = f"{first['msg']}." if is_sentence else f"{param}: {first['msg']}."
    if path and path[-1] in _UNIONS and any(map(_is_union_branch, first["loc"])):
        message = f"{param} must be {_UNIONS[path[-1]]}."
    return bad_request(message, param)


def _path(loc: tuple[int | str, ...]) -> list[str]:
    """Its names; those that a client has made up may be long."""
    return [str(part)[:64] for part in loc if part != "body" and not _is_union_branch(part)]


def _is_inside_an_item(path: list[str]) -> bool:
    """messages.0.role says more than that messages are no text, the other thing that they may be."""
    return any(part.isdecimal() and not after.isdecimal() for part, after in pairwise(path))


def _is_union_branch(part: str | int) -> bool:
    """pydantic puts the tried branch of a union ("list[int]", "str") into a location."""
    return isinstance(part, str) and (
        "[" in part or part.startswith("constrained-") or part in {"str", "int", "float", "bool", "dict", "none"}
    )
