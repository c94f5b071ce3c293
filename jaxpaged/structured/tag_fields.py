"""The fields of a structural tag, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jaxpaged.errors import RequestError
from jaxpaged.params.json_limits import check_schema
from jaxpaged.params.structured import PARAM

MAX_PARTS = 512  # tags, triggers or elements at one place

Format = Mapping[str, Any]


def mistake(what: str) -> RequestError:
    return RequestError(f"structural_tag cannot be used: {what}.", PARAM)


def only(form: Format, *fields: str) -> None:
    """Refuse fields that would change what is meant and are not served."""
    unserved = sorted(str(name) for name in form if name not in ("type", *fields))
    if unserved:
        raise mistake(f"{form.get('type', 'a tag')} has no {unserved[0][:50]!r} here")


def text(form: Format, name: str) -> str:
    found = form.get(name)
    if not isinstance(found, str) or not found:
        raise mistake(f"{name} must be a string that is not empty")
    return found


def texts(form: Format, name: str, *, default: list[str] | None = None) -> tuple[str, ...]:
    found = form.get(name, default)
    if not isinstance(found, list) or not all(isinstance(part, str) and part for part in found):
        raise mistake(f"{name} must be a list of strings, none of them empty")
    if len(found) > MAX_PARTS:
        raise mistake(f"at most {MAX_PARTS} {name} are taken")
    return tuple(dict.fromkeys(found))


def forms(form: Format, name: str) -> list[Format]:
    found = form.get(name)
    if not isinstance(found, list) or not found or not all(isinstance(part, dict) for part in found):
        raise mistake(f"{name} must be a list of objects that is not empty")
    if len(found) > MAX_PARTS:
        raise mistake(f"at most {MAX_PARTS} {name} are taken")
    return found


def flag(form: Format, name: str) -> bool:
    found = form.get(name, False)
    if not isinstance(found, bool):
        raise mistake(f"{name} must be true or false")
    return found


def ends(tag: Format) -> tuple[str, ...]:
    """What may end a tag: a text, or a list of them; nothing where that is empty."""
    found = tag.get("end", "")
    given = [found] if isinstance(found, str) else found
    if not isinstance(given, list) or not all(isinstance(part, str) for part in given) or len(given) > MAX_PARTS:
        raise mistake("end of a tag must be a string or a list of strings")
    return tuple(dict.fromkeys(given)) if any(given) else ()


def schema(form: Format, name: str) -> dict[str, Any]:
    """A JSON schema, as an object, as text, or true for any JSON."""
    found = form.get(name)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError) as error:
            raise mistake("the schema of a tag is not valid JSON") from error
    if found is True:
        found = {}
    if not isinstance(found, dict):
        raise mistake("the schema of a tag must be a JSON schema, as an object")
    check_schema(found)
    return found
