"""Structural tags as grammars in Lark: texts with parts that follow a schema, an expression or a grammar.

Two spellings are read. vLLM's older one:
    {"type": "structural_tag", "triggers": [...], "structures": [{"begin", "schema", "end"}, ...]}
and xgrammar's {"type": "structural_tag", "format": {...}}, where formats hold others: see tag_formats.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxpaged.errors import RequestError
from jaxpaged.params.structured import PARAM
from jaxpaged.structured import tag_fields as fields
from jaxpaged.structured.tag_fields import Format, mistake
from jaxpaged.structured.tag_formats import WRITERS
from jaxpaged.structured.tag_rules import TagRules


def tag_grammar(value: Format, special: Mapping[str, int]) -> str:
    """`special` maps the tokenizer's special tokens, which are no text, to their ids. Raises RequestError."""
    if value.get("type", "structural_tag") != "structural_tag":
        raise mistake('its type must be "structural_tag"')
    rules = TagRules(special, WRITERS)
    try:
        start = _start(rules, value)
    except RequestError as error:
        if not rules.place:
            raise
        raise RequestError(f"{str(error).rstrip('.')} (at {'.'.join(rules.place)}).", PARAM) from error
    return "\n".join([f"start: {start}", "text: TEXT", r"TEXT: /(.|\n)*/", *rules.lines]) + "\n"


def _start(rules: TagRules, value: Format) -> str:
    if "format" in value:
        return rules.write_at("format", value["format"])
    tags = [_tag(structure) for structure in fields.forms(value, "structures")]
    return rules.write({"type": "triggered_tags", "triggers": value.get("triggers"), "tags": tags})


def _tag(structure: Format) -> Format:
    content = {"type": "json_schema", "json_schema": structure.get("schema")}
    return {"begin": structure.get("begin"), "content": content, "end": structure.get("end", "")}
