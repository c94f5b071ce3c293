"""What developers ask of the engine, under vLLM's names: sleep, new weights, caches, profiles. Only with
--enable-dev-routes, because one client could take the model from all others."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from jaxpaged import ConfigError
from server.errors import bad_request, json_response
from server.http.body import read_body
from server.routes.openapi import takes
from server.serving import Serving

_LEVELS = ("0", "1", "2")


class UpdateWeightsRequest(BaseModel):
    """`path` is a directory with safetensors files, as the server's machine sees it."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1, max_length=4096)


def dev_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["development"])
    llm, limit = serving.llm, serving.options.max_body_bytes

    @router.post("/sleep")
    async def sleep(level: str = "1") -> Response:
        """Give device memory back: level 1 keeps the weights on the host, 2 drops them, 0 keeps everything."""
        if level not in _LEVELS:
            raise bad_request(
                "level must be 0 (everything stays), 1 (weights stay on the host) or 2 (they are dropped).", "level"
            )
        await llm.sleep(int(level))
        return json_response(200, {})

    @router.post("/wake_up")
    async def wake_up(tags: Annotated[list[str] | None, Query()] = None) -> Response:
        """Take the device memory again: all of it, or that of the tags "weights" and "kv_cache"."""
        await llm.wake_up(tags)
        return json_response(200, {})

    @router.get("/is_sleeping")
    async def is_sleeping() -> Response:
        """Whether the engine sleeps."""
        return json_response(200, {"is_sleeping": await llm.is_sleeping()})

    @router.post("/update_weights", openapi_extra=takes(UpdateWeightsRequest))
    async def update_weights(request: Request) -> Response:
        """Replace the weights by those of a directory of the server's machine."""
        body = await read_body(request, UpdateWeightsRequest, limit)
        try:
            await llm.update_weights(body.path)
        except ConfigError as error:
            raise bad_request(str(error), "path") from error
        return json_response(200, {})

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
