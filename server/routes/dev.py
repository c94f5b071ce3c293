"""What developers ask of the engine, under vLLM's names: sleep, new weights, caches, profiles, ends of requests. Only
with --enable-dev-routes, because one client could take the model from all others."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from jaxpaged import ConfigError
from server.errors import bad_request, json_response
from server.http.body import read_body
from server.routes.openapi import takes
from server.routes.pauses import add_pauses
from server.serving import Serving

_ABORTED = "aborted"  # the stop_reason of an answer that /abort_requests has ended


class UpdateWeightsRequest(BaseModel):
    """`path` is a directory with safetensors files, as the server's machine sees it."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1, max_length=4096)


class AbortRequest(BaseModel):
    """`request_ids`: ids of answers, or what X-Request-Id said; none, or none named: every request."""

    model_config = ConfigDict(extra="forbid")

    request_ids: list[Annotated[str, Field(min_length=1, max_length=256)]] | None = Field(None, max_length=4096)


def dev_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["development"])
    llm, limit = serving.llm, serving.options.max_body_bytes

    add_pauses(router, llm)

    @router.post("/update_weights", openapi_extra=takes(UpdateWeightsRequest))
    async def update_weights(request: Request) -> Response:
        """Replace the weights by those of a directory of the server's machine."""
        body = await read_body(request, UpdateWeightsRequest, limit)
        try:
            await llm.update_weights(body.path)
        except ConfigError as error:
            raise bad_request(str(error), "path") from error
        return json_response(200, {})

    @router.post("/abort_requests", openapi_extra=takes(AbortRequest))
    async def abort_requests(request: Request) -> Response:
        """End requests with what they have; others go on, and new ones are welcome."""
        body = await read_body(request, AbortRequest, limit)
        before = llm.num_in_flight()
        if body.request_ids:
            await llm.abort(serving.running.requests(body.request_ids), why=_ABORTED)
        else:
            llm.abort_all(why=_ABORTED)
        return json_response(200, {"status": "aborted", "aborted": before - llm.num_in_flight()})

    @router.post("/reset_prefix_cache")
    async def reset_prefix_cache() -> Response:
        """Forget every cached prefix."""
        return json_response(200, {"success": await llm.reset_prefix_cache()})

    @router.post("/start_profile")
    async def start_profile() -> Response:
        """Begin a jax.profiler trace in a new directory of the server's machine."""
        return json_response(200, {"directory": await llm.start_profile()})

    @router.post("/stop_profile")
    async def stop_profile() -> Response:
        """End and write the trace."""
        return json_response(200, {"directory": await llm.stop_profile()})

    return router
