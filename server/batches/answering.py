"""One line of a batch answered as its route would answer it over HTTP: the same parser, the same errors."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Message, Receive

from jaxpaged import QueueFullError
from server.batches.lines import BadLine, Line
from server.errors import as_api_error, bad_request, error_response
from server.openai.chat import answer_chat
from server.openai.completions import answer_completion
from server.openai.schema import ChatRequest, CompletionRequest
from server.pooling.answer import answer_pooling
from server.pooling.schema import EmbeddingRequest, RerankRequest, ScoreRequest
from server.serving import Serving

RETRY_SECONDS = 0.25  # until a line that met a full queue tries again
log = logging.getLogger("jaxpaged.server")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a url of a line stands for."""

    body: type[BaseModel]
    answer: Callable[[Serving, Any, Receive], Awaitable[Response]]


def _pooling(body: type[BaseModel], path: str) -> Endpoint:
    async def answer(serving: Serving, parsed: Any, receive: Receive) -> Response:
        return answer_pooling(serving, parsed, path)

    return Endpoint(body, answer)


ENDPOINTS = {
    "/v1/chat/completions": Endpoint(ChatRequest, answer_chat),
    "/v1/completions": Endpoint(CompletionRequest, answer_completion),
    "/v1/embeddings": _pooling(EmbeddingRequest, "/v1/embeddings"),
    "/v1/score": _pooling(ScoreRequest, "/v1/score"),
    "/v1/rerank": _pooling(RerankRequest, "/v1/rerank"),
}


@dataclass(frozen=True, slots=True)
class Record:
    """A line of the output. `ok` says that the request was answered with a success."""

    ok: bool
    line: bytes


async def answer_line(serving: Serving, line: Line | BadLine) -> Record:
    """Whatever becomes of a line, it becomes a record; a full queue is waited out."""
    if isinstance(line, BadLine):
        error = {"code": line.code, "message": line.message, "line": line.number}
        return _record(line.custom_id, ok=False, response=None, error=error)
    response = await _response(serving, ENDPOINTS[line.url], line.body)
    shown = {
        "status_code": response.status_code,
        "request_id": uuid.uuid4().hex,
        "body": msgspec.Raw(bytes(response.body)),
    }
    return _record(line.custom_id, ok=response.status_code < 400, response=shown, error=None)


async def _response(serving: Serving, endpoint: Endpoint, body: dict[str, Any]) -> Response:
    try:
        if body.get("stream"):
            raise bad_request("stream is not served in batches; leave it out.", "stream")
        work = partial(endpoint.answer, serving, endpoint.body.model_validate(body), _nobody_leaves)
        while True:
            try:
                return await work()
            except QueueFullError:
                await asyncio.sleep(RETRY_SECONDS)
    except Exception as error:  # one line must not end the others
        if as_api_error(error).status == 500:
            log.exception("a line of a batch failed")
        return error_response(error)


def _record(custom_id: str | None, *, ok: bool, **fields: Any) -> Record:
    record = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": custom_id, **fields}
    return Record(ok, msgspec.json.encode(record) + b"\n")


async def _nobody_leaves() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("an event that nobody sets")
