"""The formats of a structural tag, each as an expression in Lark."""

from __future__ import annotations

import json

from llguidance import regex_to_lark

from jaxpaged.params.tags import WHITESPACE
from jaxpaged.structured import tag_fields as fields
from jaxpaged.structured.schema import bounded
from jaxpaged.structured.tag_fields import Format, mistake
from jaxpaged.structured.tag_rules import Ends, TagRules, Writer
from jaxpaged.structured.triggers import triggered

_MAX_TIMES = 1000


def _const_string(rules: TagRules, form: Format, ends: Ends) -> str:
    fields.only(form, "value")
    return rules.then(rules.spelled(fields.text(form, "value")), ends)


def _json_schema(rules: TagRules, form: Format, ends: Ends) -> str:
    fields.only(form, "json_schema", "style")
    if form.get("style", "json") != "json":
        raise mistake('of the styles of a json_schema "json" is served')
    schema = {**bounded(fields.schema(form, "json_schema")), "x-guidance": {"whitespace_pattern": WHITESPACE}}
    return rules.then(f"%json {json.dumps(schema, ensure_ascii=False)}", ends)


def _regex(rules: TagRules, form: Format, ends: Ends) -> str:
    fields.only(form, "pattern")
    return rules.then(rules.rule(f"/{regex_to_lark(fields.text(form, 'pattern'), use_ascii='d')}/"), ends)


def _any_text(rules: TagRules, form: Format, ends: Ends) -> str:
    fields.only(form, "excludes")
    return rules.free_text(ends, fields.texts(form, "excludes", default=[]))


def _tag(rules: TagRules, form: Format, ends: Ends) -> str:
    fields.only(form, "begin", "content", "end")
    body = rules.write(form.get("content"), fields.ends(form))
    return rules.then(f"{rules.spelled(fields.text(form, 'begin'))} {body}", ends)


def _sequence(rules: TagRules, form: Format, ends: Ends) -> str:
    fields.only(form, "elements")
    elements = fields.forms(form, "elements")
    parts: list[str] = []
    for index, element in enumerate(elements):
        last = index == len(elements) - 1
        after = None if last else elements[index + 1]
        parts.append(_element(rules, element, after, ends if last else ()))
    return f"({' '.join(parts)})"


def _element(rules: TagRules, element: Format, after: Format | None, ends: Ends) -> str:
    """An element of a sequence. Free text before a const_string or a tag looks for where that begins."""
    if after is None or element.get("type") not in ("any_text", "triggered_tags"):
        return rules.write(element, ends)
    raise mistake(f"{element['type']} must be the last element of a sequence or the content of a tag with an end")


def _either_format(rules: TagRules, form: Format, ends: Ends) -> str:
    fields.only(form, "elements")
    return rules.any_of([f"({rules.write(element, ends)})" for element in fields.forms(form, "elements")])


def _repeat(rules: TagRules, form: Format, ends: Ends) -> str:
    fields.only(form, "content", "min", "max")
    least, most = {"optional": (0, 1), "star": (0, None), "plus": (1, None)}.get(
        form["type"], (form.get("min", 0), form.get("max"))
    )
    for times in (least, 0 if most in (None, -1) else most):
        if not isinstance(times, int) or not 0 <= times <= _MAX_TIMES:
            raise mistake(f"min and max of a repeat must be 0 to {_MAX_TIMES}")
    bounds = f"{least}," if most in (None, -1) else f"{least},{most}"
    return rules.then(f"({rules.write(form.get('content'))}){{{bounds}}}", ends)


def _separated(rules: TagRules, form: Format, ends: Ends) -> str:
    fields.only(form, "tags", "separator", "at_least_one", "stop_after_first")
    tag = rules.rule(rules.any_of([_tag(rules, tag, ()) for tag in fields.forms(form, "tags")]))
    separator = form.get("separator")
    if not isinstance(separator, str):
        raise mistake("separator must be a string")
    once = fields.flag(form, "stop_after_first")
    body = tag if once else f"{tag} ({rules.spelled(separator)} {tag})*"
    return rules.then(f"({body})" if fields.flag(form, "at_least_one") else f"({body})?", ends)


WRITERS: dict[str, Writer] = {
    "const_string": _const_string,
    "json_schema": _json_schema,
    "regex": _regex,
    "any_text": _any_text,
    "sequence": _sequence,
    "or": _either_format,
    "tag": _tag,
    "triggered_tags": triggered,
    "tags_with_separator": _separated,
    "optional": _repeat,
    "star": _repeat,
    "plus": _repeat,
    "repeat": _repeat,
}
