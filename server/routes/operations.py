"""What operators ask: /health, /ready, /ping, /version, /metrics, /load."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from jaxpaged import EngineDeadError, __version__
from server.errors import ApiError, json_response
from server.http.metrics import HttpMetrics
from server.serving import Serving


def operations_router(serving: Serving, http: HttpMetrics) -> APIRouter:
    router = APIRouter(tags=["operations"])
    llm = serving.llm

    @router.get("/health")
    @router.get("/ping")
    @router.post("/ping")
    async def health() -> Response:
        """200 while the engine makes progress; 503 when it is dead or stuck."""
        try:
            llm.check_health()
        except EngineDeadError as error:
            raise ApiError(503, "The engine is dead or stuck.", code="unhealthy") from error
        return json_response(200, {"status": "ok"})

    @router.get("/ready")
    async def ready() -> Response:
        """200 while requests are taken; 503 while the server drains and while the engine is dead, stuck or starting."""
        if not llm.is_accepting:
            raise ApiError(503, "The server is shutting down.", code="shutting_down")
        return await health()

    @router.get("/version")
    async def version() -> Response:
        """The version of jaxpaged."""
        return json_response(200, {"version": __version__})

    @router.get("/load")
    async def load() -> Response:
        """How many requests are on their way."""
        return json_response(200, {"server_load": llm.num_in_flight()})

    @router.get("/metrics", responses={200: {"content": {"text/plain": {}}}}, response_class=Response)
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(llm.metrics.text() + http.text(), media_type=CONTENT_TYPE_LATEST)

    return router
