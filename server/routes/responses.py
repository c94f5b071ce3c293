"""POST /v1/responses, and what has been answered there."""

from __future__ import annotations

import uuid

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive

from server.body import read_body
from server.chat_body import errors_name
from server.delta_answer import answer_from_deltas
from server.dialect import Answer
from server.errors import ApiError, bad_request, json_response
from server.openapi import takes
from server.owner import owner_of
from server.responses.dialect import ResponsesDialect
from server.responses.items import Message
from server.responses.parse import NAMES, parse_responses
from server.responses.schema import ResponsesRequest
from server.responses.store import ResponseStore, StoredResponse
from server.routes.chat import prepare_chat
from server.serving import Serving
from server.streaming import EventStream


def responses_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])
    options = serving.options
    store = ResponseStore(options.max_stored_responses, options.max_stored_response_bytes)

    @router.post("/v1/responses", openapi_extra=takes(ResponsesRequest))
    async def create_response(request: Request) -> Response:
        """Answer a conversation, as items."""
        body = await read_body(request, ResponsesRequest, options.max_body_bytes)
        return await answer_response(serving, body, request.receive, store, owner_of(request, options))

    @router.get("/v1/responses/{response_id}")
    async def retrieve_response(response_id: str, request: Request) -> Response:
        """A stored response."""
        if request.query_params.get("stream", "false").lower() not in ("false", "0"):
            raise bad_request("A stored response is not streamed again; leave stream out.", "stream")
        return Response(_found(store, request, response_id, serving).response, media_type="application/json")

    @router.delete("/v1/responses/{response_id}")
    async def delete_response(response_id: str, request: Request) -> Response:
        """Forget a stored response."""
        _found(store, request, response_id, serving)
        store.remove(owner_of(request, options), response_id)
        return json_response(200, {"id": response_id, "object": "response", "deleted": True})

    @router.post("/v1/responses/{response_id}/cancel")
    async def cancel_response(response_id: str, request: Request) -> Response:
        """Only background responses can be cancelled, and there are none: close the connection instead."""
        _found(store, request, response_id, serving)
        raise bad_request("Only responses with background: true can be cancelled, and this one has ended.")

    return router


async def answer_response(
    serving: Serving, body: ResponsesRequest, receive: Receive, store: ResponseStore, owner: str
) -> Response:
    """Answer a body of /v1/responses."""
    llm, info = serving.llm, serving.llm.info
    serving.check_model(body.model)
    call = parse_responses(body, _before(store, owner, body.previous_response_id), serving.parse_chat)
    with errors_name(NAMES):
        prepared = await prepare_chat(serving, call.chat)
    answer = Answer(f"resp_{uuid.uuid4().hex}", llm.model_name, call.chat.reply, [prepared])
    dialect = ResponsesDialect(
        answer,
        body,
        call,
        serving.assistant_parser(call.chat, prepared),
        store=None if body.store is False else store,
        owner=owner,
        page_size=info.page_size if llm.config.cache.enable_prefix_caching else 0,
    )
    stream = llm.submit([prepared])
    if body.stream:
        return EventStream(stream, dialect, dialect.error_event)
    return await answer_from_deltas(stream, dialect, receive)


def _before(store: ResponseStore, owner: str, response_id: str | None) -> list[Message]:
    if response_id is None:
        return []
    entry = store.get(owner, response_id)
    if entry is None:
        raise ApiError(
            400,
            "There is no such previous response: it was not stored, or has made room for others. Send the whole input.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    messages: list[Message] = msgspec.json.decode(entry.messages)
    return messages


def _found(store: ResponseStore, request: Request, response_id: str, serving: Serving) -> StoredResponse:
    entry = store.get(owner_of(request, serving.options), response_id)
    if entry is None:
        raise ApiError(404, "There is no such response.", param="response_id", code="response_not_found")
    return entry
