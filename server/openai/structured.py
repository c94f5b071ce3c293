"""response_format, structured_outputs and vLLM's older guided_* fields: at most one of them says what to answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jaxpaged import Calls, RequestError, StructuredOutputsParams
from server.answers.tools.choice import ToolUse, forced_schema
from server.errors import bad_request
from server.openai.schema import Sampling

_GUIDED = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "guided_json_object": "json_object",
    "structural_tag": "structural_tag",
}
_FORMATS = "text, json_object, json_schema, structural_tag"


def structured_outputs(body: Sampling) -> StructuredOutputsParams | None:
    """What the answer must look like. Raises ApiError, naming the field, for a mistake or for two wishes at once."""
    wishes: dict[str, StructuredOutputsParams | None] = {}
    if body.response_format is not None:
        wishes["response_format"] = response_format(body.response_format)
    if body.structured_outputs is not None:
        wishes["structured_outputs"] = _direct(body.structured_outputs)
    for name, field in _GUIDED.items():
        value = getattr(body, name)
        if value is not None and value is not False:
            wishes[name] = _made(name, {field: value, "whitespace_pattern": body.guided_whitespace_pattern})
    given = [name for name, wish in wishes.items() if wish is not None]
    if len(given) > 1:
        raise bad_request(f"{given[0]} and {given[1]} exclude each other; send one of them.", given[1])
    return wishes[given[0]] if given else None


def response_format(value: Any, param: str = "response_format") -> StructuredOutputsParams | None:
    """OpenAI's response_format (or the text.format of a response, whose schema is not wrapped); None for text."""
    kind = value.get("type") if isinstance(value, dict) else None
    match kind:
        case "text":
            return None
        case "json_object":
            return _made(param, {"json_object": True})
        case "json_schema":
            wrapped = value.get("json_schema", value)
            schema = wrapped.get("schema") if isinstance(wrapped, dict) else None
            if not isinstance(schema, dict):
                raise bad_request(f"{param} of type json_schema needs json_schema.schema, a JSON object.", param)
            return _made(param, {"json": schema})
        case "structural_tag":
            return _made(param, {"structural_tag": value})
        case _:
            raise bad_request(f"{param} must be an object whose type is one of {_FORMATS}.", param)


def with_calls(
    form: StructuredOutputsParams | None, use: ToolUse, calls: Calls | None
) -> StructuredOutputsParams | None:
    """The form of an answer where tools are offered.

    Nothing but the call where `use` demands one, and else `form`, or one of `calls` instead. Raises ApiError.
    """
    schema = forced_schema(use)
    if schema is None:
        return form if form is None or calls is None else replace(form, calls=calls)
    return _made("functions" if use.legacy else "tools", {"json": schema, "whitespace_pattern": " ?"})


def _direct(value: Any) -> StructuredOutputsParams:
    if not isinstance(value, dict):
        raise bad_request("structured_outputs must be an object.", "structured_outputs")
    return _made("structured_outputs", value)


def _made(param: str, fields: dict[str, Any]) -> StructuredOutputsParams:
    try:
        return StructuredOutputsParams.of_fields(fields, param)
    except RequestError as error:
        raise bad_request(str(error), param) from error
