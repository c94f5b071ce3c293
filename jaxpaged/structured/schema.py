"""JSON schemas as llguidance gets them: closed where they do not say otherwise, without bounds that mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from jaxpaged.params.json_limits import MAX_LENGTH

_COMPOSING = frozenset(("allOf", "if", "not", "dependentSchemas", "unevaluatedProperties", "$dynamicRef"))
_BY_NAME = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
_VALUES = frozenset(("const", "enum", "default", "examples", "required"))
# formats of strings that can be followed; others say nothing, as the standard has it
_FORMATS = frozenset("date time date-time duration email hostname ipv4 ipv6 uri uuid".split())
_MOST = ("maxLength", "maxItems", "maxProperties", "maxContains")


def prepared(schema: dict[str, Any], *, always_closed: bool = False) -> dict[str, Any]:
    """The schema with closed objects. Those whose properties may be named in several places stay as they are, unless
    they are `always_closed`."""
    closes = always_closed or not _is_composed(schema)
    said = bounded(schema)
    closed: dict[str, Any] = _each_part(said, _closed) if closes else said
    return closed


def bounded(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without what means nothing."""
    said: dict[str, Any] = _each_part(schema, _said)
    return said


def _each_part(part: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A schema with every schema in it changed; values and names are left alone."""
    if isinstance(part, list):
        return [_each_part(inner, change) for inner in part]
    if not isinstance(part, dict):
        return part
    inside = {}
    for name, inner in part.items():
        if name in _BY_NAME and isinstance(inner, dict):
            inside[name] = {key: _each_part(value, change) for key, value in inner.items()}
        else:
            inside[name] = inner if name in _VALUES else _each_part(inner, change)
    return change(inside)


def _parts(part: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a schema, itself included."""
    found: list[dict[str, Any]] = []

    def note(one: dict[str, Any]) -> dict[str, Any]:
        found.append(one)
        return one

    _each_part(part, note)
    return iter(found)


def _is_composed(schema: dict[str, Any]) -> bool:
    """Whether an object's properties may be named in several places, so that none of them can be closed by itself."""
    for part in _parts(schema):
        names = part.get("properties", {})
        shared = "properties" in part and any(word in part for word in ("anyOf", "oneOf", "$ref"))
        required = part.get("required")
        needed = set(map(str, required)) if isinstance(required, list) else set()
        unnamed = isinstance(names, dict) and not needed <= names.keys()
        if _COMPOSING & part.keys() or shared or unnamed:
            return True
    return False


def _said(part: dict[str, Any]) -> dict[str, Any]:
    """Without bounds that no answer can be long enough for, some of which are more than llguidance can count, and
    without formats that it does not know."""
    idle = {name for name in _MOST if isinstance(part.get(name), int | float) and part[name] > MAX_LENGTH}
    if isinstance(part.get("format"), str) and part["format"] not in _FORMATS:
        idle.add("format")
    return {name: value for name, value in part.items() if name not in idle} if idle else part


def _closed(part: dict[str, Any]) -> dict[str, Any]:
    """An object that takes no properties but the named ones, where it does not say whether it may.

    So do vLLM's grammars by default; a model that has written what it was asked for would go on with names of its own.
    """
    if "additionalProperties" not in part and isinstance(part.get("properties", part.get("patternProperties")), dict):
        return {**part, "additionalProperties": False}
    return part
