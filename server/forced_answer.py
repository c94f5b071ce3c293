"""Answers that must have a form: where tool_choice meets structured output."""

from __future__ import annotations

from typing import Any

from server.errors import bad_request
from server.tools.choice import ToolUse, forced_schema


def force_call(sampling: dict[str, Any], use: ToolUse) -> None:
    """Make the SamplingParams fields `sampling` let the model write nothing but the call that `use` demands."""
    schema = forced_schema(use)
    if schema is not None:
        field = "function_call" if use.legacy else "tool_choice"
        raise bad_request(f'{field} must be "none" or "auto": calls are not forced yet.', field)
