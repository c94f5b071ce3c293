"""Who may ask: `Authorization: Bearer KEY` or `x-api-key: KEY` on every route but the probes and the page,
which asks for the key itself."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import ApiError, error_response

OPEN_PATHS = frozenset(("/", "/health", "/ready"))
_BEARER = b"bearer "


class Auth:
    """ASGI middleware. Keys are compared as digests in constant time; the path is the one of the scope, never a URL."""

    def __init__(self, app: ASGIApp, api_keys: Sequence[str]) -> None:
        self._app = app
        self._digests = [_digest(key.encode()) for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or not self._digests or self._may_pass(scope):
            await self._app(scope, receive, send)
            return
        error = ApiError(
            401,
            "This server needs an API key: send Authorization: Bearer KEY.",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
        await error_response(error)(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if scope["path"] in OPEN_PATHS:
            return True
        keys = list(presented_keys(scope["headers"]))
        return len(keys) == 1 and self._is_known(keys[0])

    def _is_known(self, key: bytes) -> bool:
        digest = _digest(key)
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0  # no early exit


def presented_keys(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[bytes]:
    """Every key that a request presents; b"" for an Authorization of another kind. The same key twice counts once."""
    found = set()
    for name, value in headers:
        if name == b"x-api-key":
            found.add(value)
        elif name == b"authorization":
            found.add(value[len(_BEARER) :] if value[: len(_BEARER)].lower() == _BEARER else b"")
    return found


def owner_of(request: Request, api_keys: Sequence[str]) -> str:
    """A name for the key that a request has presented; the same for everybody where the server has no keys.

    What one key has stored, another one does not see.
    """
    if not api_keys:
        return ""
    digest = hashlib.sha256()
    for key in presented_keys(request.scope["headers"]):
        digest.update(key)
    return digest.hexdigest()


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
