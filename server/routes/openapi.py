"""Bodies, errors and keys in /openapi.json. FastAPI cannot know them: routes read bodies themselves (body.py)."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from jaxpaged import AsyncLLM, sampling_limits
from server.http.auth import OPEN_PATHS
from server.messages.errors import PATH as ANTHROPIC
from server.openai.known_fields import UNSERVED
from server.serving import Serving

_REF = "#/components/schemas/{model}"
_METHODS = ("get", "put", "post", "delete", "patch")
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "the field that is at fault"},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_ANTHROPIC_ERROR = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
    },
}
_ERRORS = {
    400: "The request is at fault; `param` names the field.",
    401: "The key is missing or unknown.",
    404: "There is no such model or object.",
    405: "The route does not take this method.",
    408: "The request took too long to arrive.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    431: "The headers are too large.",
    500: "A fault of the server.",
    503: "The server is full, ending, or without its engine; Retry-After says when to try again.",
}
_ROLES = ("user", "assistant", "system", "developer", "tool", "function")
_TOKENS = {"prompt", "tokens", "stop_token_ids", "allowed_token_ids", "logprob_token_ids"}
_KEYS = {
    "Bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` for a route whose body is a `model`."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def install_openapi(app: FastAPI, models: list[type[BaseModel]], serving: Serving) -> None:
    """Let `app` describe the models that takes() has named, and what every route answers with."""
    llm, has_keys = serving.llm, bool(serving.options.api_keys)

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, routes=app.routes)
            _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
            components = document.setdefault("components", {})
            for schema in definitions["$defs"].values():
                _narrow(schema.get("properties", {}), llm)
            components.setdefault("schemas", {}).update(
                {**definitions["$defs"], "Error": _ERROR, "AnthropicError": _ANTHROPIC_ERROR}
            )
            if has_keys:
                components["securitySchemes"] = _KEYS
            for path, item in document["paths"].items():
                for method in _METHODS:
                    if method in item:
                        error = "AnthropicError" if path.startswith(ANTHROPIC) else "Error"
                        _complete(
                            item[method], components["schemas"], error, needs_key=has_keys and path not in OPEN_PATHS
                        )
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


def _narrow(properties: dict[str, Any], llm: AsyncLLM) -> None:
    """Say what is checked beyond types: the model's name, roles, ranges, and fields that must not ask for much yet."""
    if "model" in properties:
        properties["model"]["enum"] = [*llm.model_names, None]
    if "role" in properties:
        properties["role"]["enum"] = list(_ROLES)
    for name, bounds in sampling_limits().items():
        for kind in properties.get(name, {}).get("anyOf", ()):
            if kind.get("type") in ("integer", "number"):
                kind.update(bounds)
    for name in _TOKENS & properties.keys():
        _bound(properties[name], {"integer": {"minimum": 0, "maximum": llm.info.vocab_size - 1}})
    for name in ("stop", "bad_words"):
        _bound(properties.get(name, {}), {"string": {"minLength": 1}})
    if "max_tokens" in properties:  # where nothing is generated, a prompt may be empty
        _bound(properties.get("prompt", {}), {"string": {"minLength": 1}, "array": {"minItems": 1}})
    for name in UNSERVED.keys() & properties.keys():
        properties[name] = {"title": properties[name].get("title", name), "enum": list(UNSERVED[name])}


def _bound(schema: dict[str, Any], bounds: dict[str, dict[str, int]]) -> None:
    """Add to every part of a schema what `bounds` has for its type."""
    schema.update(bounds.get(schema.get("type", ""), {}))
    for part in [*schema.get("anyOf", ()), schema.get("items", {})]:
        if part:
            _bound(part, bounds)


def _complete(operation: dict[str, Any], schemas: dict[str, Any], error: str, *, needs_key: bool) -> None:
    """Add the errors (400 where FastAPI says 422), the keys, and a stream where the body can ask for one."""
    responses = operation["responses"]
    responses.pop("422", None)
    content = {"application/json": {"schema": {"$ref": _REF.format(model=error)}}}
    for code, description in _ERRORS.items():
        if code == 401 and not needs_key:
            continue
        responses.setdefault(str(code), {"description": description, "content": content})
    operation["security"] = [{name: []} for name in _KEYS] if needs_key else []
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if "stream" in schemas.get(body.get("$ref", "").rpartition("/")[2], {}).get("properties", {}):
        responses["200"]["content"]["text/event-stream"] = {}
