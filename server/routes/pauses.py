"""Sleep and pauses, among the routes for developers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from jaxpaged import AsyncLLM
from server.errors import bad_request, json_response

_LEVELS = ("0", "1", "2")


def add_pauses(router: APIRouter, llm: AsyncLLM) -> None:
    """/sleep, /wake_up, /is_sleeping; /pause, /resume, /is_paused."""

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
        try:  # whoever leaves while he waits leaves no pause behind
            await llm.pause_generation(mode, clear_cache=False)
            await llm.sleep(int(level))
        finally:
            if not paused:
                await llm.resume_generation()
        return json_response(200, {})

    @router.post("/pause")
    async def pause(
        mode: str = "abort", clear_cache: str = "true", wait_for_inflight_requests: str = "false"
    ) -> Response:
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


def _flag(value: str, name: str) -> bool:
    """A boolean of a query, as vLLM reads it. Raises ApiError."""
    flags = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if value.lower() not in flags:
        raise bad_request(f"{name} must be true or false.", name)
    return flags[value.lower()]
