"""POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.errors import json_response
from server.http.body import read_body
from server.messages.answer import answer_message, count_prompt
from server.messages.schema import CountTokensRequest, MessagesRequest
from server.routes.openapi import takes
from server.serving import Serving


def messages_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["Anthropic"])
    limit = serving.options.max_body_bytes

    @router.post("/v1/messages", openapi_extra=takes(MessagesRequest))
    async def create_message(request: Request) -> Response:
        """Answer a conversation."""
        body = await read_body(request, MessagesRequest, limit)
        return await answer_message(serving, body, request.receive)

    @router.post("/v1/messages/count_tokens", openapi_extra=takes(CountTokensRequest))
    async def count_tokens(request: Request) -> Response:
        """How many tokens a conversation would be."""
        body = await read_body(request, CountTokensRequest, limit)
        return json_response(200, {"input_tokens": await count_prompt(serving, body)})

    return router
