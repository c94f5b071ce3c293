"""The tools of a request, as grammars need to know them: names, and the types of parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.answers.tools.json_text import quote

# how templates render Python's values where JSON would have others
_PYTHON = {"True": "true", "False": "false", "None": "null"}

_KINDS: dict[type, frozenset[str]] = {
    str: frozenset(("string",)),
    bool: frozenset(("boolean",)),
    int: frozenset(("integer", "number")),
    float: frozenset(("number",)),
    dict: frozenset(("object",)),
    list: frozenset(("array",)),
    type(None): frozenset(("null",)),
}


@dataclass(frozen=True, slots=True)
class Toolbox:
    """`parameters`: function name -> the JSON schema of its arguments."""

    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, tools: Sequence[Mapping[str, Any]]) -> Toolbox:
        functions = [tool["function"] for tool in tools]
        return cls({function["name"]: function.get("parameters") or {} for function in functions})

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.parameters)

    def is_text(self, function: str, parameter: str) -> bool:
        """Whether a parameter is a string and nothing else."""
        return self._types(function, parameter) == {"string"}

    def json_value(self, function: str, parameter: str, text: str) -> str:
        """A parameter that was written as bare text, as JSON: what its schema says, else JSON if it is that, else text.

        >>> Toolbox().json_value("f", "x", "3"), Toolbox().json_value("f", "x", "a b")
        ('3', '"a b"')
        """
        types = self._types(function, parameter)
        bare = text.strip()
        if types == {"string"}:
            return quote(text)
        if bare in _PYTHON:
            return _PYTHON[bare]
        try:
            value = json.loads(bare, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return quote(text)
        return quote(text) if "string" in types and not types & _KINDS[type(value)] else bare

    def _types(self, function: str, parameter: str) -> frozenset[str]:
        properties = self.parameters.get(function, {}).get("properties")
        return _types(properties.get(parameter) if isinstance(properties, Mapping) else None)


def _types(schema: object) -> frozenset[str]:
    """The names of JSON's types that a schema allows, looking one level into alternatives; empty where it is silent."""
    if not isinstance(schema, Mapping):
        return frozenset()
    branches = schema.get("anyOf") or schema.get("oneOf")
    kinds: list[object] = []
    for part in [schema, *(branches if isinstance(branches, list) else ())]:
        kind = part.get("type") if isinstance(part, Mapping) else None
        kinds += kind if isinstance(kind, list) else [kind]
    enum = schema.get("enum")
    if isinstance(enum, list) and enum and all(isinstance(value, str) for value in enum):
        kinds.append("string")
    return frozenset(kind for kind in kinds if isinstance(kind, str))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
