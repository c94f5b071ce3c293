"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from server.errors import json_response
from server.serving import Serving


def models_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])
    name = serving.llm.model_name
    card: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "jaxpaged",
        "root": name,
        "parent": None,
        "max_model_len": serving.llm.info.max_model_len,
    }

    @router.get("/v1/models")
    async def list_models() -> Response:
        """The model that this server has."""
        return json_response(200, {"object": "list", "data": [card]})

    @router.get("/v1/models/{model:path}")
    async def retrieve_model(model: str) -> Response:
        """One model by its name."""
        serving.check_model(model)
        return json_response(200, card)

    return router
