"""What a request says about tools: which there are, whether one must be called, and what that makes the answer be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from server.answers.tools.toolbox import Toolbox
from server.errors import bad_request

MAX_TOOLS = 1024
MAX_DEPTH = 200  # levels of a tool's JSON: templates and grammars walk through them by recursion
Tool = Mapping[str, Any]
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CHOICES = ("none", "auto", "required")


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The tools of a request. `function` is the one that a "named" choice names; `legacy`: asked by `functions`."""

    tools: tuple[Tool, ...] = ()
    choice: Literal["none", "auto", "required", "named"] = "none"
    function: str | None = None
    parallel: bool = True
    legacy: bool = False

    @property
    def active(self) -> bool:
        """Whether the answer may hold calls."""
        return self.choice != "none"

    @property
    def forced(self) -> bool:
        """Whether it must."""
        return self.choice in ("required", "named")

    def toolbox(self) -> Toolbox:
        return Toolbox.of(self.tools)


NO_TOOLS = ToolUse()


def tool_use(
    tools: Sequence[object] | None, choice: object = None, *, parallel: bool | None = None, legacy: bool = False
) -> ToolUse:
    """Check `tools` and `tool_choice` as OpenAI's chat has them. Raises ApiError, naming the field."""
    field = "functions" if legacy else "tools"
    choice_field = "function_call" if legacy else "tool_choice"
    if len(tools or ()) > MAX_TOOLS:
        raise bad_request(f"{field} holds {len(tools or ())} tools; at most {MAX_TOOLS} are taken.", field)
    checked = tuple(_checked(tool, f"{field}[{index}]", field) for index, tool in enumerate(tools or ()))
    names = [tool["function"]["name"] for tool in checked]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise bad_request(f"{field} has two functions of the name {twice!r}; names must differ.", field)
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools" and not legacy:
        checked, choice = _allowed(checked, choice)
    kind, function = _choice(choice, choice_field, default="auto" if checked else "none")
    if not checked and kind in ("required", "named"):
        raise bad_request(f"{choice_field} needs {field}.", choice_field)
    if function is not None and function not in names:
        raise bad_request(f"{choice_field} names the function {function[:64]!r}, which {field} lacks.", choice_field)
    if not checked:
        kind = "none"
    return ToolUse(checked, kind, function, parallel is not False, legacy)


def _checked(tool: object, where: str, field: str) -> Tool:
    """A tool as templates take it: {"type": "function", "function": {"name", "description", "parameters"}}."""
    if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
        raise bad_request(f'{where} must be an object of the type "function"; no other kind of tool is served.', field)
    if _is_deep(tool):
        raise bad_request(f"{where} is nested more than {MAX_DEPTH} levels deep.", field)
    function = tool.get("function")
    if not isinstance(function, Mapping):
        raise bad_request(f"{where}.function must be an object with a name.", field)
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise bad_request(f"{where}.function.name must be 1 to 64 letters, digits, and characters of '_.-'.", field)
    if not isinstance(function.get("description"), str | None):
        raise bad_request(f"{where}.function.description must be a text.", field)
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise bad_request(f"{where}.function.parameters must be a JSON schema: an object.", field)
    function = {**function, "parameters": _checked_schema(parameters, where, field)}
    return {**tool, "type": "function", "function": function}


def _is_deep(value: object) -> bool:
    left = [(1, value)]
    while left:
        depth, part = left.pop()
        if depth > MAX_DEPTH:
            return True
        if isinstance(part, Mapping | list):
            left += [(depth + 1, inner) for inner in (part.values() if isinstance(part, Mapping) else part)]
    return False


def _checked_schema(parameters: Mapping[str, Any] | None, where: str, field: str) -> Mapping[str, Any]:
    schema = dict(parameters or {})
    if schema.setdefault("type", "object") != "object":
        raise bad_request(f'{where}.function.parameters must be a schema of the type "object".', field)
    if not isinstance(schema.setdefault("properties", {}), Mapping):
        raise bad_request(f"{where}.function.parameters.properties must be an object.", field)
    return schema


def _allowed(tools: tuple[Tool, ...], choice: Mapping[str, Any]) -> tuple[tuple[Tool, ...], object]:
    """Those of the tools that `{"type": "allowed_tools", "allowed_tools": {"mode", "tools"}}` names, and its mode."""
    allowed = choice.get("allowed_tools")
    listed = allowed.get("tools") if isinstance(allowed, Mapping) else None
    if not isinstance(allowed, Mapping) or not isinstance(listed, list) or allowed.get("mode") not in _CHOICES[1:]:
        raise bad_request(
            "tool_choice of type allowed_tools needs allowed_tools.mode (auto, required) and tools.", "tool_choice"
        )
    names = {_choice(one, "tool_choice", default=None)[1] for one in listed}
    missing = names - {tool["function"]["name"] for tool in tools}
    if missing:
        raise bad_request(f"tool_choice allows {str(min(map(str, missing)))[:64]!r}, which tools lacks.", "tool_choice")
    return tuple(tool for tool in tools if tool["function"]["name"] in names), allowed["mode"]


def _choice(choice: object, field: str, *, default: Any) -> tuple[Any, str | None]:
    if choice is None:
        return default, None
    if choice in _CHOICES:
        return choice, None
    if isinstance(choice, Mapping):
        function = choice.get("function") if field == "tool_choice" else choice
        name = function.get("name") if isinstance(function, Mapping) else None
        if isinstance(name, str) and choice.get("type", "function") == "function":
            return "named", name
    shown = '{"type": "function", "function": {"name": ...}}' if field == "tool_choice" else '{"name": ...}'
    raise bad_request(f'{field} must be "none", "auto", "required" or {shown}.', field)


def forced_schema(use: ToolUse) -> dict[str, Any] | None:
    """The JSON schema of an answer that must be a call, or None where it need not.

    "required": an array of {"name", "parameters"}, one for each call; "named": the arguments of the function.
    """
    if not use.forced:
        return None
    schemas = use.toolbox().parameters
    if use.function is not None:
        return dict(schemas[use.function])
    definitions: dict[str, Any] = {}
    items = []
    for name, schema in schemas.items():
        moved, has_references = _moved(schema, f"#/$defs/{name}")
        if has_references:
            definitions[name] = moved
            moved = {"$ref": f"#/$defs/{name}"}
        properties = {"name": {"type": "string", "enum": [name]}, "parameters": moved}
        call = {"type": "object", "properties": properties, "required": ["name", "parameters"]}
        items.append({**call, "additionalProperties": False})
    array: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"type": "object", "anyOf": items}}
    if not use.parallel:
        array["maxItems"] = 1
    return {**array, "$defs": definitions} if definitions else array


def _moved(schema: Any, root: str) -> tuple[Any, bool]:
    """A schema whose own root, which its references ("#/...") start at, has become `root`; and whether it has any."""
    if isinstance(schema, Mapping):
        moved = {key: _moved(value, root) for key, value in schema.items()}
        found = any(has for _, has in moved.values())
        plain = {key: value for key, (value, _) in moved.items()}
        reference = plain.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            plain["$ref"], found = root + reference[1:], True
        return plain, found
    if isinstance(schema, list):
        parts = [_moved(value, root) for value in schema]
        return [value for value, _ in parts], any(has for _, has in parts)
    return schema, False
