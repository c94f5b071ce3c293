"""Tools of /v1/responses as those of chats.

Functions are served, alone or in a namespace, whose name becomes part of theirs. Tools that OpenAI's server runs itself
(web_search, mcp, image_generation, ...) and custom ones are as if they were not listed; a choice of one is refused.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from server.errors import bad_request
from server.responses.schema import ResponsesRequest, ResponseTool

_LONGEST_NAME = 64


class FunctionName(NamedTuple):
    """What a client calls a function."""

    name: str
    namespace: str | None = None

    def flat(self) -> str:
        """What the model calls it; a long name is cut and stays different from others by a digest."""
        if self.namespace is None:
            return self.name
        name = f"{self.namespace}__{self.name}"
        if len(name) <= _LONGEST_NAME:
            return name
        return f"{name[: _LONGEST_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def chat_tools(body: ResponsesRequest) -> tuple[list[dict[str, Any]] | None, str | dict[str, Any] | None]:
    """Tools and the choice among them as chats have them. Raises ApiError."""
    functions = _functions(body.tools or ())
    choice = body.tool_choice
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = _allowed(choice, functions)
        functions = {name: tool for name, tool in functions.items() if name in allowed}
        choice = str(choice.get("mode", "auto"))
    elif isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": _chosen(choice, functions)}}
    tools = [{"type": "function", "function": {**tool, "name": name.flat()}} for name, tool in functions.items()]
    return tools or None, choice


def function_names(body: ResponsesRequest) -> dict[str, FunctionName]:
    """The model's names of the functions in namespaces -> the client's."""
    return {name.flat(): name for name in _functions(body.tools or ()) if name.namespace is not None}


def _functions(tools: list[ResponseTool] | tuple[()]) -> dict[FunctionName, dict[str, Any]]:
    functions: dict[FunctionName, dict[str, Any]] = {}
    for index, tool in enumerate(tools):
        inside: list[tuple[str | None, dict[str, Any]]] = []
        if tool.type == "function":
            inside = [(None, tool.model_dump(include=set(ResponseTool.model_fields), exclude_none=True))]
        elif tool.type == "namespace":
            inside = [(tool.name, one) for one in tool.tools or () if one.get("type") == "function"]
        for namespace, fields in inside:
            name = fields.get("name")
            if not isinstance(name, str):
                raise bad_request(f"tools.{index}: a function needs a name.", "tools")
            key = FunctionName(name, namespace)
            if key in functions:
                raise bad_request(f"tools has two functions of the name {name[:64]!r}; names must differ.", "tools")
            kept = ("description", "parameters", "strict")
            functions[key] = {field: fields[field] for field in kept if fields.get(field) is not None}
    return functions


def _chosen(choice: dict[str, Any], functions: dict[FunctionName, dict[str, Any]]) -> object:
    """The model's name of the function that `choice` names."""
    if choice.get("type") != "function":
        kind = str(choice.get("type"))[:64]
        raise bad_request(
            f"tool_choice asks for a tool of the type {kind!r}, which is not served; name a function, or use a text or "
            "allowed_tools.",
            "tool_choice",
        )
    return next((name.flat() for name in functions if _names(choice, name)), choice.get("name"))


def _allowed(choice: dict[str, Any], functions: dict[FunctionName, dict[str, Any]]) -> set[FunctionName]:
    tools = choice.get("tools")
    if choice.get("mode") not in ("auto", "required") or not isinstance(tools, list):
        raise bad_request("tool_choice of type allowed_tools needs mode (auto, required) and tools.", "tool_choice")
    told = [tool for tool in tools if isinstance(tool, dict)]
    return {name for name in functions if any(_names(tool, name) for tool in told)}


def _names(told: dict[str, Any], function: FunctionName) -> bool:
    """Whether a client means `function`, which it may call by its own name, the model's, or by its namespace."""
    if told.get("type") == "namespace":
        return told.get("name") == function.namespace
    namespace = told.get("namespace")
    return told.get("name") in (function.name, function.flat()) and namespace in (None, function.namespace)
