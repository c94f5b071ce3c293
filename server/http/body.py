"""Request bodies: bounded, JSON only, and strictly so (no NaN, no trailing text, no deep nesting)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import Request
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from server.errors import ApiError, bad_request

BODY_SECONDS = 60.0
MAX_KEYS = 250_000  # a million take half a second to decode, in which nobody else is served


async def read_body[Body: BaseModel](request: Request, model: type[Body], limit: int) -> Body:
    """The request's JSON object as a `model`. Raises ApiError (400, 413, 415) and pydantic's ValidationError."""
    return model.model_validate(await read_object(request, limit))


async def read_object(request: Request, limit: int) -> dict[str, Any]:
    """The request's JSON object. Raises ApiError (400, 413, 415)."""
    _check_headers(request)
    content = await _read(request, limit)
    if content.count(b'":') - content.count(b'\\":') > MAX_KEYS:
        raise bad_request(f"The body has more than {MAX_KEYS} fields; send several requests.")
    try:
        value = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise bad_request(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise bad_request("The body is nested too deeply.") from error
    if not isinstance(value, dict):
        raise bad_request("The body must be a JSON object.")
    return value


def _check_headers(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise ApiError(415, "Send JSON with the header Content-Type: application/json.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "Compressed bodies are not taken; send plain JSON.")


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise _too_large(limit)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError as error:
        raise ApiError(408, "The body took too long to arrive.", headers={"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise bad_request("The connection closed before the body was complete.") from error
    return b"".join(chunks)


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"The body is larger than {limit} bytes.", headers={"Connection": "close"})
