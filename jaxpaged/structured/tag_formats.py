"""The formats of a structural tag, each as an expression in Lark."""

from __future__ import annotations

import json

from llguidance import regex_to_lark

from jaxpaged.params.tags import WHITESPACE
from jaxpaged.structured import tag_fields as fields
from jaxpaged.structured.schema import bounded
from jaxpaged.structured.tag_fields import Format, mistake
from jaxpaged.structured.tag_rules import FOLLOWED, Ends, TagRules, Writer
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
    return f"{rules.spelled(fields.text(form, 'begin'))} {_after_begin(rules, form, ends)}"


def _after_begin(rules: TagRules, form: Format, ends: Ends) -> str:
    """A tag, or a const_string, whose first text has been written."""
    if form["type"] == "const_string":
        fields.only(form, "value")
        return rules.then("", ends)
    fields.only(form, "begin", "content", "end")
    own = fields.ends(form)
    body = rules.write_at("content", form.get("content"), own or ends)
    return rules.then(body, ends) if own else body


def _sequence(rules: TagRules, form: Format, ends: Ends) -> str:
    """What ends an element is what the next one begins with, where that is a certain text: free text looks for it."""
    fields.only(form, "elements")
    elements = fields.forms(form, "elements")
    parts: list[str] = []
    begun = False
    for index, element in enumerate(elements):
        begin = _first_text(elements[index + 1]) if index + 1 < len(elements) else ""
        until = ends if index + 1 == len(elements) else (begin,) if begin else FOLLOWED
        rules.place.append(f"elements[{index}]")
        parts.append(_after_begin(rules, element, until) if begun else rules.write(element, until))
        rules.place.pop()
        begun = bool(begin)
    return f"({' '.join(parts)})"


def _first_text(form: Format) -> str:
    """What a format begins with in any case, if it is of a kind that shows it; what is no text is told later."""
    found = form.get({"const_string": "value", "tag": "begin"}.get(str(form.get("type")), ""), "")
    return found if isinstance(found, str) else ""


def _either_format(rules: TagRules, form: Format, ends: Ends) -> str:
    fields.only(form, "elements")
    elements = fields.forms(form, "elements")
    return rules.any_of(
        [f"({rules.write_at(f'elements[{index}]', element, ends)})" for index, element in enumerate(elements)]
    )


def _repeat(rules: TagRules, form: Format, ends: Ends) -> str:
    fields.only(form, "content", "min", "max")
    least, most = {"optional": (0, 1), "star": (0, None), "plus": (1, None)}.get(
        form["type"], (form.get("min", 0), form.get("max"))
    )
    for times in (least, 0 if most in (None, -1) else most):
        if not isinstance(times, int) or not 0 <= times <= _MAX_TIMES:
            raise mistake(f"min and max of a repeat must be 0 to {_MAX_TIMES}")
    bounds = f"{least}," if most in (None, -1) else f"{least},{most}"
    once = () if not ends and least < 2 else FOLLOWED  # free text swallows the rest
    return rules.then(f"({rules.write_at('content', form.get('content'), once)}){{{bounds}}}", ends)


def _separated(rules: TagRules, form: Format, ends: Ends) -> str:
    fields.only(form, "tags", "separator", "at_least_one", "stop_after_first")
    until = FOLLOWED if ends else ()
    tags = [{**tag, "type": "tag"} for tag in fields.forms(form, "tags")]
    tag = rules.rule(rules.any_of([rules.write_at(f"tags[{index}]", tag, until) for index, tag in enumerate(tags)]))
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
