"""Answers that must have a form: where tool_choice meets structured output."""

from __future__ import annotations

from typing import Any

from jaxpaged import StructuredOutputsParams
from server.errors import bad_request
from server.tools.choice import ToolUse, forced_schema


def force_call(sampling: dict[str, Any], use: ToolUse) -> None:
    """Make the SamplingParams fields `sampling` let the model write nothing but the call that `use` demands."""
    schema = forced_schema(use)
    if schema is None:
        return
    field = "function_call" if use.legacy else "tool_choice"
    if sampling.get("structured_outputs") is not None:
        raise bad_request(f"A {field} that forces a call and another form of the answer exclude each other.", field)
    sampling["structured_outputs"] = StructuredOutputsParams.of_fields(
        {"json": schema, "whitespace_pattern": " ?"}, field
    )
