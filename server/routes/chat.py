"""POST /v1/chat/completions, and many conversations at once."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.http.body import read_body
from server.openai.chat import answer_chat
from server.openai.chat_batch import BatchChatRequest, answer_chat_batch
from server.openai.schema import ChatRequest
from server.routes.openapi import takes
from server.serving import Serving


def chat_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])

    @router.post("/v1/chat/completions", openapi_extra=takes(ChatRequest))
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation."""
        body = await read_body(request, ChatRequest, serving.options.max_body_bytes)
        return await answer_chat(serving, body, request.receive)

    @router.post("/v1/chat/completions/batch", openapi_extra=takes(BatchChatRequest))
    async def chat_completions_batch(request: Request) -> Response:
        """Answer several conversations, one choice each."""
        body = await read_body(request, BatchChatRequest, serving.options.max_body_bytes)
        return await answer_chat_batch(serving, body, request.receive)

    return router
