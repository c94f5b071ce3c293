"""What is refused by its size alone, before a grammar is made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jaxpaged.errors import RequestError

PARAM = "structured_outputs"
MAX_BYTES = 256 * 1024  # of a schema, an expression or a grammar: compiles in well under a second
MAX_DEPTH = 64
MAX_CHOICES = 10_000
MAX_ALTERNATIVES = 1_000
MAX_LENGTH = 1_000_000  # no context holds more characters or items than that
MAX_OPTIONAL = 480  # properties of one object that may be left out: the parser follows every way to go on
_MAX_NUMBER = 10**308  # beyond, a number is none for most readers of JSON

_BRANCHES = ("anyOf", "oneOf", "allOf")
_LEAST = ("minLength", "minItems", "minProperties", "minContains")
_BOUNDED = frozenset({"properties", *_BRANCHES, *_LEAST})


def check_json(value: dict[str, Any], name: str) -> None:
    """Refuse JSON that is too deep, too large or none at all. Raises RequestError."""
    for count, (depth, part) in enumerate(_walk(value)):
        if depth > MAX_DEPTH:
            raise RequestError(f"{name} is nested more than {MAX_DEPTH} levels deep.", PARAM)
        if count > MAX_BYTES or (isinstance(part, dict | list) and len(part) > MAX_BYTES):  # a part is a byte at least
            raise RequestError(f"{name} has more than {MAX_BYTES} bytes; no more are taken.", PARAM)
        if isinstance(part, int) and not -_MAX_NUMBER < part < _MAX_NUMBER:
            raise RequestError(f"{name} holds a number of more than 308 digits.", PARAM)
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:  # UnicodeEncodeError, for half a surrogate pair, is a ValueError
        raise RequestError(f"{name} is not JSON.", PARAM) from error
    if len(text) > MAX_BYTES:
        raise RequestError(f"{name} has {len(text)} bytes; at most {MAX_BYTES} are taken.", PARAM)


def check_schema(schema: dict[str, Any]) -> None:
    """The same for a JSON schema, and refuse what no answer could be long enough for. Raises RequestError."""
    check_json(schema, "the JSON schema")
    for _, part in _walk(schema):
        if not isinstance(part, dict) or _BOUNDED.isdisjoint(part):  # most parts, and a schema may have 100,000
            continue
        _check_properties(part)
        for name in _BRANCHES:
            branches = part.get(name)
            if isinstance(branches, list) and len(branches) > MAX_ALTERNATIVES:
                raise RequestError(f"{name} has {len(branches)} entries; at most {MAX_ALTERNATIVES} are taken.", PARAM)
        for name in _LEAST:
            least = part.get(name)
            if isinstance(least, int | float) and least > MAX_LENGTH:
                raise RequestError(f"{name} asks for more than {MAX_LENGTH}, which no answer can hold.", PARAM)


def _check_properties(part: dict[str, Any]) -> None:
    properties, required = part.get("properties"), part.get("required")
    if isinstance(properties, dict) and len(properties) > MAX_OPTIONAL:
        needed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
        optional = len(properties.keys() - needed)
        if optional > MAX_OPTIONAL:
            raise RequestError(
                f"an object has {optional} optional properties; at most {MAX_OPTIONAL} are taken: require more.",
                PARAM,
            )


def _walk(value: object) -> Iterator[tuple[int, object]]:
    """(depth, part) of JSON, without recursion; ends soon after the depth is too large."""
    left = [(1, value)]
    while left:
        depth, part = left.pop()
        yield depth, part
        if isinstance(part, dict | list):
            left += [(depth + 1, inner) for inner in (part.values() if isinstance(part, dict) else part)]
