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
    names, created = serving.llm.model_names, int(time.time())
    cards: dict[str, dict[str, Any]] = {
        name: {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "jaxpaged",
            "root": serving.llm.config.model.model or names[0],
            "parent": None,
            "max_model_len": serving.llm.info.max_model_len,
        }
        for name in names
    }

    @router.get("/v1/models")
    async def list_models() -> Response:
        """The model that this server has, under each of its names."""
        return json_response(200, {"object": "list", "data": list(cards.values())})

    @router.get("/v1/models/{model:path}")
    async def retrieve_model(model: str) -> Response:
        """The model by one of its names."""
        if model not in cards:
            raise serving.unknown_model(model)
        return json_response(200, cards[model])

    return router
