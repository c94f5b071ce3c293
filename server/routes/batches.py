"""/v1/batches."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.batches.runner import BatchRunner
from server.batches.schema import BatchRequest
from server.batches.store import BatchStore
from server.errors import json_response
from server.flags import ServerOptions
from server.http.auth import owner_of
from server.http.body import read_body
from server.http.paging import page_of
from server.routes.openapi import takes


def batches_router(options: ServerOptions, batches: BatchStore, runner: BatchRunner) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])

    @router.post("/v1/batches", openapi_extra=takes(BatchRequest))
    async def create_batch(request: Request) -> Response:
        """Answer the requests of a file, one a line."""
        body = await read_body(request, BatchRequest, options.max_body_bytes)
        return json_response(200, runner.create(owner_of(request, options.api_keys), body).body())

    @router.get("/v1/batches")
    async def list_batches(request: Request) -> Response:
        """The batches of one key, the newest first."""
        found = batches.list(owner_of(request, options.api_keys))
        return json_response(200, page_of(request, found, default=20, most=100))

    @router.get("/v1/batches/{batch_id}")
    async def retrieve_batch(batch_id: str, request: Request) -> Response:
        """How far a batch is."""
        return json_response(200, batches.get(owner_of(request, options.api_keys), batch_id).body())

    @router.post("/v1/batches/{batch_id}/cancel")
    async def cancel_batch(batch_id: str, request: Request) -> Response:
        """End a batch; what has been answered is kept."""
        batch = batches.get(owner_of(request, options.api_keys), batch_id)
        runner.cancel(batch)
        return json_response(200, batch.body())

    return router
