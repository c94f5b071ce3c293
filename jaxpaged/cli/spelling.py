"""vLLM's other spellings of a flag: underscores for dashes, and `--flag.key value` for a part of a JSON object."""

from __future__ import annotations

import argparse
import json
from collections.abc import Container, Mapping, Sequence
from itertools import pairwise
from typing import Any

from jaxpaged.arguments.values import integer


def plain_spelling(arguments: Sequence[str], known: Container[str]) -> list[str]:
    """The same arguments as `known` flags spell them; what is no flag of these stays as it is.

    `--hf-overrides.rope_theta 1000 --hf_overrides.a.b=1` is `--hf-overrides {"rope_theta": 1000, "a": {"b": 1}}`, and
    `--flag.list+ 1,2` adds to a list. What the flag itself says as JSON stays, except where a key is said again.
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
            _put(objects.setdefault(flag, {}), path, value if equals else next(rest, ""))
        else:
            plain.append(flag + equals + value)
    for flag, content in objects.items():
        plain += flag, json.dumps(_merged(_said_whole(plain, flag), content))
    return plain


def _dashed(flag: str, known: Container[str]) -> str:
    return flag if flag in known else flag.replace("_", "-")


def _put(target: dict[str, Any], path: str, text: str) -> None:
    *outer, last = path.removesuffix("+").split(".")
    for key in outer:
        inner = target.get(key)
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    if path.endswith("+"):
        before = target.get(last)
        target[last] = [*(before if isinstance(before, list) else []), *map(_value, text.split(","))]
    else:
        target[last] = _value(text)


def _said_whole(arguments: Sequence[str], flag: str) -> Any:
    """The last JSON value that the arguments give to a flag; None where there is none."""
    texts = [after for before, after in pairwise(arguments) if before == flag]
    texts += [one.removeprefix(f"{flag}=") for one in arguments if one.startswith(f"{flag}=")]
    return _value(texts[-1]) if texts else None


def _merged(first: Any, second: Mapping[str, Any]) -> dict[str, Any]:
    """`second` over `first`, key by key."""
    merged = dict(first) if isinstance(first, Mapping) else {}
    for key, value in second.items():
        merged[key] = _merged(merged.get(key), value) if isinstance(value, Mapping) else value
    return merged


def _value(text: str) -> Any:
    """JSON, an integer with its unit (80k), or a text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return integer(text)
    except argparse.ArgumentTypeError:
        return text
