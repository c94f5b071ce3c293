"""POST /inference/v1/generate."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.http.body import read_body
from server.openai.generate import GenerateRequest, answer_generate
from server.routes.openapi import takes
from server.serving import Serving


def generate_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["tokens"])

    @router.post("/inference/v1/generate", openapi_extra=takes(GenerateRequest))
    async def generate(request: Request) -> Response:
        """Token ids in, token ids out."""
        body = await read_body(request, GenerateRequest, serving.options.max_body_bytes)
        return await answer_generate(serving, body, request.receive)

    return router
