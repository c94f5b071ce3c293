"""Embeddings, scores and classes."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.http.body import read_body
from server.pooling.answer import ROUTES, answer_pooling
from server.routes.openapi import takes
from server.serving import Serving


def pooling_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["pooling"])
    for path in ROUTES:
        _add_route(router, serving, path)
    return router


def _add_route(router: APIRouter, serving: Serving, path: str) -> None:
    model, kind = ROUTES[path]

    @router.post(path, openapi_extra=takes(model), name=path, description=f"Needs {kind}.")
    async def pool(request: Request) -> Response:
        body = await read_body(request, model, serving.options.max_body_bytes)
        return answer_pooling(serving, body, path)
