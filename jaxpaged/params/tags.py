"""Structural tags: free text in which a trigger starts a tag, whose content follows a JSON schema.

Two spellings are read. vLLM's:
    {"type": "structural_tag", "triggers": [...], "structures": [{"begin", "schema", "end"}, ...]}
and of xgrammar's {"type": "structural_tag", "format": {...}} the format
    {"type": "triggered_tags", "triggers": [...], "tags": [{"begin", "content", "end"}, ...]}
where a content is {"type": "json_schema", "json_schema": ...}. It may ask for `at_least_one` tag, which comes first,
and to `stop_after_first`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxpaged.errors import RequestError
from jaxpaged.params.json_limits import check_schema

PARAM = "structured_outputs"
MAX_TAGS = 512
# Between the tokens of JSON: a blank, or a new line and its indentation. Without a bound a small model fills its answer
# with blanks.
WHITESPACE = r"[ \t]|\r?\n[ \t]{0,20}"
ANY_OBJECT = f"%json {json.dumps({'type': 'object', 'x-guidance': {'whitespace_pattern': WHITESPACE}})}"
_LARK = """start: {start}
text: TEXT
TEXT: /(.|\\n)*/
"""


@dataclass(frozen=True, slots=True)
class Tag:
    """`begin` starts with one of the triggers; `schema` is JSON text."""

    begin: str
    schema: str
    end: str


@dataclass(frozen=True, slots=True)
class StructuralTag:
    """Free text with tags in it."""

    triggers: tuple[str, ...]
    tags: tuple[Tag, ...]
    at_least_one: bool = False
    stop_after_first: bool = False


def read_structural_tag(value: Mapping[str, Any]) -> StructuralTag:
    """Raises RequestError."""
    if value.get("type", "structural_tag") != "structural_tag":
        raise _mistake('its type must be "structural_tag"')
    if "format" not in value:
        tags = tuple(_tag(part, part.get("schema")) for part in _objects(value, "structures"))
        return _checked(StructuralTag(_strings(value, "triggers"), tags))
    form = value["format"]
    if not isinstance(form, dict) or form.get("type") != "triggered_tags":
        raise _mistake('of the formats only "triggered_tags" is served')
    unserved = set(form) - {"type", "triggers", "tags", "at_least_one", "stop_after_first"}
    if unserved:
        raise _mistake(f"triggered_tags has no {min(unserved)[:50]!r} here")
    tags = tuple(_tag(part, _content(part)) for part in _objects(form, "tags"))
    flags = {name: _flag(form, name) for name in ("at_least_one", "stop_after_first")}
    return _checked(StructuralTag(_strings(form, "triggers"), tags, **flags))


def tag_grammar(tag: StructuralTag, special: Mapping[str, int]) -> str:
    """A Lark grammar. `special` maps the tokenizer's special tokens, which are no text, to their ids."""
    rules, bodies = [], []
    for index, trigger in enumerate(tag.triggers):
        inside = [part for part in tag.tags if _trigger(part, tag.triggers) == trigger]
        rests = [f"({_rest(part, trigger, special)})" for part in inside]
        if not rests:
            continue
        body = f"body_{index}"
        rules.append(f"{body}: {' | '.join(rests)}")
        if trigger in special:
            head = f"text <[{special[trigger]}]>"
        else:
            head = f"head_{index}"
            rules.append(f"{head}[lazy]: TEXT {_literal(trigger)}")
        bodies.append((head, spelled(trigger, special), body))
    anywhere = " | ".join(f"{head} {body}" for head, _, body in bodies)
    first = " | ".join(f"{spelled} {body}" for _, spelled, body in bodies)
    start = {
        (False, False): f"({anywhere})* text",
        (False, True): f"({anywhere}) | text",
        (True, False): f"({first}) (({anywhere})* text)?",
        (True, True): f"({first})",
    }[tag.at_least_one, tag.stop_after_first]
    return _LARK.format(start=start) + "\n".join(rules) + "\n"


def _rest(tag: Tag, trigger: str, special: Mapping[str, int]) -> str:
    parts = spelled(tag.begin[len(trigger) :], special), f"%json {tag.schema}", spelled(tag.end, special)
    return " ".join(part for part in parts if part)


def spelled(text: str, special: Mapping[str, int]) -> str:
    """A text as Lark literals and special tokens."""
    if not special or not text:
        return _literal(text) if text else ""
    pattern = "|".join(re.escape(name) for name in sorted(special, key=len, reverse=True))
    parts = re.split(f"({pattern})", text)
    return " ".join(f"<[{special[part]}]>" if part in special else _literal(part) for part in parts if part)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _trigger(tag: Tag, triggers: Sequence[str]) -> str:
    """The longest trigger that the tag begins with."""
    return max((trigger for trigger in triggers if tag.begin.startswith(trigger)), key=len, default="")


def _checked(tag: StructuralTag) -> StructuralTag:
    if not tag.tags or not tag.triggers or not all(tag.triggers):
        raise _mistake("it needs tags, and triggers that are not empty")
    if len(tag.tags) > MAX_TAGS or len(tag.triggers) > MAX_TAGS:
        raise _mistake(f"at most {MAX_TAGS} tags and triggers are taken")
    for part in tag.tags:
        if not _trigger(part, tag.triggers):
            raise _mistake(f"the tag {part.begin[:50]!r} begins with none of the triggers")
    return tag


def _tag(part: Mapping[str, Any], schema: Any) -> Tag:
    begin, end = part.get("begin"), part.get("end", "")
    if not isinstance(begin, str) or not isinstance(end, str):
        raise _mistake("begin and end of a tag must be strings")
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError) as error:
            raise _mistake("the schema of a tag is not valid JSON") from error
    if not isinstance(schema, dict):
        raise _mistake("the schema of a tag must be a JSON schema, as an object")
    check_schema(schema)
    schema = {**schema, "x-guidance": {"whitespace_pattern": WHITESPACE}}
    return Tag(begin, json.dumps(schema, ensure_ascii=False), end)


def _content(part: Mapping[str, Any]) -> Any:
    content = part.get("content")
    if not isinstance(content, dict) or content.get("type") != "json_schema":
        raise _mistake('the content of a tag must be {"type": "json_schema", "json_schema": ...}')
    return content.get("json_schema")


def _objects(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = value.get(name)
    if not isinstance(found, list) or not all(isinstance(part, dict) for part in found):
        raise _mistake(f"{name} must be a list of objects")
    return found


def _strings(value: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = value.get(name)
    if not isinstance(found, list) or not all(isinstance(part, str) for part in found):
        raise _mistake(f"{name} must be a list of strings")
    return tuple(dict.fromkeys(found))


def _flag(value: Mapping[str, Any], name: str) -> bool:
    found = value.get(name, False)
    if not isinstance(found, bool):
        raise _mistake(f"{name} must be true or false")
    return found


def _mistake(what: str) -> RequestError:
    return RequestError(f"structural_tag cannot be used: {what}.", PARAM)
