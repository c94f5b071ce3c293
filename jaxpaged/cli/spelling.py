"""vLLM's other spellings of a flag: underscores for dashes, and `--flag.key value` for a part of a JSON object."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from typing import Any


def plain_spelling(arguments: Sequence[str], known: Container[str]) -> list[str]:
    """The same arguments as `known` flags spell them; what is no flag of these stays as it is.

    `--hf-overrides.rope_theta 1000 --hf_overrides.a.b=1` is `--hf-overrides {"rope_theta": 1000, "a": {"b": 1}}`.
    """
    plain: list[str] = []
    objects: dict[str, dict[str, Any]] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        flag, _, path = name.partition(".")
        flag = _dashed(flag, known)
        if not argument.startswith("-") or flag not in known:
            plain.append(argument)
        elif path:
            _put(objects.setdefault(flag, {}), path.split("."), _value(value if equals else next(rest, "")))
        else:
            plain.append(flag + equals + value)
    for flag, content in objects.items():
        plain += flag, json.dumps(content)
    return plain


def _dashed(flag: str, known: Container[str]) -> str:
    return flag if flag in known else flag.replace("_", "-")


def _put(target: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        inner = target.get(key)
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    target[path[-1]] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
