"""POST /v1/responses, and what has been answered there."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.errors import ApiError, bad_request, json_response
from server.http.auth import owner_of
from server.http.body import read_body
from server.responses.answer import answer_response
from server.responses.background import BackgroundResponses
from server.responses.schema import ResponsesRequest
from server.responses.store import ResponseStore, StoredResponse
from server.routes.openapi import takes
from server.serving import Serving


def responses_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])
    options = serving.options
    store = ResponseStore(options.max_stored_responses, options.max_stored_response_bytes)
    background = BackgroundResponses(options.request_timeout)

    @router.post("/v1/responses", openapi_extra=takes(ResponsesRequest))
    async def create_response(request: Request) -> Response:
        """Answer a conversation, as items."""
        body = await read_body(request, ResponsesRequest, options.max_body_bytes)
        owner = owner_of(request, options.api_keys)
        return await answer_response(serving, body, request.receive, store, background, owner)

    @router.get("/v1/responses/{response_id}")
    async def retrieve_response(response_id: str, request: Request) -> Response:
        """A stored response."""
        if request.query_params.get("stream", "false").lower() not in ("false", "0"):
            raise bad_request("A stored response is not streamed again; leave stream out.", "stream")
        return Response(_found(store, request, response_id, serving).response, media_type="application/json")

    @router.delete("/v1/responses/{response_id}")
    async def delete_response(response_id: str, request: Request) -> Response:
        """Forget a stored response; one that is still being made ends."""
        _found(store, request, response_id, serving)
        if background.is_running(response_id):
            background.cancel(response_id)
        store.remove(owner_of(request, options.api_keys), response_id)
        return json_response(200, {"id": response_id, "object": "response", "deleted": True})

    @router.post("/v1/responses/{response_id}/cancel")
    async def cancel_response(response_id: str, request: Request) -> Response:
        """End a response that is made in the background."""
        _found(store, request, response_id, serving)
        if background.is_running(response_id):
            return json_response(200, background.cancel(response_id))
        raise bad_request("Only responses with background: true can be cancelled, and this one has ended.")

    return router


def _found(store: ResponseStore, request: Request, response_id: str, serving: Serving) -> StoredResponse:
    entry = store.get(owner_of(request, serving.options.api_keys), response_id)
    if entry is None:
        raise ApiError(404, "There is no such response.", param="response_id", code="response_not_found")
    return entry
