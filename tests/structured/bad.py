"""Rows 23 to 26 of the reliability table: constraints that must be refused, quickly, by their fields."""

from __future__ import annotations

from typing import Any


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def _object(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{index}": {} for index in range(count)}}


def _tag(**changes: Any) -> dict[str, Any]:
    tag = {"begin": "<f>", "schema": {"type": "object"}, "end": "</f>"}
    return {"type": "structural_tag", "structures": [tag], "triggers": ["<f"], **changes}


BAD: dict[str, dict[str, Any]] = {
    "regex unclosed": {"regex": "["},
    "regex lookaround": {"regex": "(?=a)b"},
    "regex backreference": {"regex": r"(a)\1"},
    "regex of a megabyte": {"regex": "a" * 10**6},
    "regex empty": {"regex": ""},
    "regex of nothing": {"regex": "()"},
    "regex of 30,000 parentheses": {"regex": "(" * 30_000 + "a" + ")" * 30_000},
    "regex no string": {"regex": 3},
    "regex half a surrogate": {"regex": "\ud800"},
    "schema of no type": {"json": {"type": "foo"}},
    "schema no object": {"json": "[]"},
    "schema no JSON": {"json": "{"},
    "schema unknown reference": {"json": {"$ref": "#/nope"}},
    "schema cycle": {"json": {"$ref": "#"}},
    "schema long cycle": {
        "json": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    },
    "schema remote reference": {"json": {"$ref": "https://example.com/schema.json"}},
    "schema file reference": {"json": {"$ref": "file:///etc/passwd"}},
    "schema too deep": {"json": _nested(400)},
    "schema far too deep": {"json": _nested(10_000)},
    "schema text too deep": {"json": '{"items":' * 10_000 + "{}" + "}" * 10_000},
    "schema wide anyOf": {"json": {"anyOf": [{"const": index} for index in range(10_000)]}},
    "schema large enum": {"json": {"enum": [str(index) for index in range(10**6)]}},
    "schema bad pattern": {"json": {"type": "string", "pattern": "["}},
    "schema long string": {"json": {"type": "string", "minLength": 2**31}},
    "schema many items": {"json": {"type": "array", "minItems": 2**31}},
    "schema NaN": {"json": {"const": float("nan")}},
    "schema that nothing fits": {"json": {"type": "integer", "minimum": 2, "maximum": 1}},
    "schema not": {"json": {"not": {"type": "string"}}},
    "schema integer of 400 digits": {"json": {"const": 10**400}},
    "schema text with an integer of 400 digits": {"json": '{"maximum": ' + "1" * 400 + "}"},
    "schema text with an integer of 5,000 digits": {"json": '{"const": [' + "1" * 5000 + "]}"},
    "schema minimum of 300 digits": {"json": {"type": "integer", "minimum": 10**300}},
    "schema multipleOf large": {"json": {"type": "integer", "multipleOf": 999999937}},
    "schema 600 optional properties": {"json": _object(600)},
    "schema 600 optional properties inside": {"json": {"type": "array", "items": {"anyOf": [{}, _object(600)]}}},
    "schema required no list": {"json": {"properties": {"a": {}}, "required": "a"}},
    "schema properties no object": {"json": {"properties": [1]}},
    "schema enum no list": {"json": {"enum": 5}},
    "schema anyOf empty": {"json": {"anyOf": []}},
    "schema reference no string": {"json": {"$ref": 5}},
    "schema unknown option": {"json": {"type": "object", "x-guidance": {"nope": 1}}},
    "choice empty": {"choice": []},
    "choice of nothing": {"choice": [""]},
    "choice no list": {"choice": "ab"},
    "choice of numbers": {"choice": [1]},
    "grammar of 30,000 parentheses": {"grammar": "start: " + "(" * 30_000},
    "gbnf of 30,000 parentheses": {"grammar": "root ::= " + "(" * 30_000},
    "gbnf unknown rule": {"grammar": "root ::= nope"},
    "gbnf without root": {"grammar": 'x ::= "a"'},
    "gbnf rule twice": {"grammar": 'root ::= "a"\nroot ::= "b"'},
    "gbnf bad escape": {"grammar": 'root ::= "\\q"'},
    "gbnf half a surrogate": {"grammar": 'root ::= "\\ud800"'},
    "gbnf no code": {"grammar": 'root ::= "\\U00110000"'},
    "gbnf open set": {"grammar": "root ::= [a"},
    "gbnf open group": {"grammar": 'root ::= ("a"'},
    "gbnf large count": {"grammar": 'root ::= "a"{99999999999999999999}'},
    "gbnf no count": {"grammar": 'root ::= "a"{٣}'},
    "gbnf that never ends": {"grammar": "root ::= a\na ::= b\nb ::= a"},
    "gbnf of nothing": {"grammar": 'root ::= ""'},
    "gbnf stray sign": {"grammar": "root ::= !"},
    "grammar of 3,000 alternatives": {"grammar": "start: " + " | ".join(f'"a{index}"' for index in range(3000))},
    "grammar neither": {"grammar": "hello"},
    "grammar empty": {"grammar": ""},
    "grammar unterminated": {"grammar": 'start: "abc'},
    "grammar without end": {"grammar": "start: start"},
    "grammar unknown rule": {"grammar": "start: nope"},
    "grammar import": {"grammar": "%import nope.nope\nstart: nope"},
    "tag empty": {"structural_tag": {}},
    "tag no JSON": {"structural_tag": "<"},
    "tag without triggers": {"structural_tag": _tag(triggers=[])},
    "tag with another trigger": {"structural_tag": _tag(triggers=["<g"])},
    "tag without structures": {"structural_tag": _tag(structures=[])},
    "tag of another type": {"structural_tag": _tag(type="tag")},
    "tag with a bad schema": {"structural_tag": _tag(structures=[{"begin": "<f>", "schema": {"type": "foo"}}])},
    "tag with a deep schema": {"structural_tag": _tag(structures=[{"begin": "<f>", "schema": _nested(400)}])},
    "tag of another format": {"structural_tag": {"type": "structural_tag", "format": {"type": "sequence"}}},
    "two at once": {"regex": "a", "choice": ["a"]},
    "none": {},
    "flag no boolean": {"json_object": 1},
    "whitespace bad": {"json_object": True, "whitespace_pattern": "["},
}
