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
    async def sleep(level: str = "1", mode: str = "abort") -> Response:
        """Give device memory back: level 1 keeps the weights on the host, 2 drops them, 0 keeps everything.

        Requests in flight are ended first (mode abort) or waited for (wait); they cannot be kept.
        """
        if level not in _LEVELS:
            raise bad_request(
                "level must be 0 (everything stays), 1 (weights stay on the host) or 2 (they are dropped).", "level"
            )
        if mode not in ("abort", "wait"):
            raise bad_request("mode must be abort (requests end now) or wait; a sleeping engine keeps none.", "mode")
        paused = llm.is_paused()
        await llm.pause_generation(mode, clear_cache=False)
        try:
            await llm.sleep(int(level))
        finally:
            if not paused:
                await llm.resume_generation()
        return json_response(200, {})

    @router.post("/pause")
    async def pause(mode: str = "abort", clear_cache: str = "true", wait_for_inflight_requests: str = "false") -> Response:
        """Stop until /resume; requests in flight end now (abort), by themselves (wait) or go on afterwards (keep)."""
        if _flag(wait_for_inflight_requests, "wait_for_inflight_requests") and mode == "abort":
            mode = "wait"  # vLLM's older way to say so
        await llm.pause_generation(mode, clear_cache=_flag(clear_cache, "clear_cache"))
        return json_response(200, {"status": "paused"})

    @router.post("/resume")
    async def resume() -> Response:
        """End a pause: requests that have waited begin, kept ones go on."""
        await llm.resume_generation()
        return json_response(200, {"status": "resumed"})

    @router.get("/is_paused")
    async def is_paused() -> Response:
        """Whether a pause has begun and not ended."""
        return json_response(200, {"is_paused": llm.is_paused()})

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


def _flag(value: str, name: str) -> bool:
    """A boolean of a query, as vLLM reads it. Raises ApiError."""
    flags = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if value.lower() not in flags:
        raise bad_request(f"{name} must be true or false.", name)
    return flags[value.lower()]
