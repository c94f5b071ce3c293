"""POST /invocations: SageMaker's one route for everything. Which route is meant shows in the fields of the body."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.errors import bad_request
from server.http.body import read_object
from server.openai.chat import answer_chat
from server.openai.completions import answer_completion
from server.openai.schema import ChatRequest, CompletionRequest
from server.pooling.answer import ROUTES, answer_pooling
from server.serving import Serving

# a field that only bodies of that route have, in the order in which they are looked for
_POOLING = {"text_1": "/score", "queries": "/score", "documents": "/rerank", "input": "/v1/embeddings"}


def invocations_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.post("/invocations", openapi_extra=_any_object())
    async def invocations(request: Request) -> Response:
        """Answer a body of /v1/chat/completions, /v1/completions, /v1/embeddings, /score or /rerank."""
        body = await read_object(request, serving.options.max_body_bytes)
        if "messages" in body:
            return await answer_chat(serving, ChatRequest.model_validate(body), request.receive)
        if "prompt" in body or "prompt_embeds" in body:
            return await answer_completion(serving, CompletionRequest.model_validate(body), request.receive)
        for field, path in _POOLING.items():
            if field in body:
                return answer_pooling(serving, ROUTES[path][0].model_validate(body), path)
        raise bad_request("The body belongs to no route: give messages, prompt, input, text_1 or query with documents.")

    return router


def _any_object() -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}
