"""POST /v1/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.http.body import read_body
from server.openai.completions import answer_completion
from server.openai.schema import CompletionRequest
from server.routes.openapi import takes
from server.serving import Serving


def completions_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])

    @router.post("/v1/completions", openapi_extra=takes(CompletionRequest))
    async def completions(request: Request) -> Response:
        """Complete one prompt or several."""
        body = await read_body(request, CompletionRequest, serving.options.max_body_bytes)
        return await answer_completion(serving, body, request.receive)

    return router
