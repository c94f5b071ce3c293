"""Strategies for JSON schemas of the kinds that clients send."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]
NAMES = st.text("abcé_ ", min_size=1, max_size=5)


def _bounds(low: str, high: str, most: int) -> st.SearchStrategy[Schema]:
    """Nothing, one bound, or both in order."""
    pair = st.tuples(st.integers(0, most), st.integers(0, most)).map(sorted)
    return st.one_of(
        st.just({}),
        pair.map(lambda p: {low: p[0]}),
        pair.map(lambda p: {high: p[1]}),
        pair.map(lambda p: {low: p[0], high: p[1]}),
    )


def _scalars() -> st.SearchStrategy[Schema]:
    def typed(kind: str, more: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
        return more.map(lambda extra: {"type": kind, **extra})

    constants = st.one_of(st.none(), st.booleans(), st.integers(-1000, 1000), st.text('ab"\\\n你🙂', max_size=4))
    patterns = st.sampled_from(["^[a-z]{2,4}$", "^a|b$", "^(x[0-9]+)*$", "^\\d{4}-\\d{2}$"])
    return st.one_of(
        st.sampled_from([{"type": "null"}, {"type": "boolean"}]),
        typed("integer", _bounds("minimum", "maximum", 500)),
        typed("number", _bounds("minimum", "maximum", 9)),
        typed("string", _bounds("minLength", "maxLength", 12)),
        patterns.map(lambda pattern: {"type": "string", "pattern": pattern}),
        st.sampled_from(["date", "time", "uuid", "email", "ipv4"]).map(lambda kind: {"type": "string", "format": kind}),
        constants.map(lambda value: {"const": value}),
        st.lists(constants, min_size=1, max_size=4, unique_by=repr).map(lambda values: {"enum": values}),
    )


@st.composite
def _objects(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    properties = draw(st.dictionaries(NAMES, inner, max_size=3))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    closed = draw(st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": {"type": "boolean"}}]))
    return {"type": "object", "properties": properties, "required": required, **closed}


@st.composite
def _arrays(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    bounds = draw(_bounds("minItems", "maxItems", 3))
    return {"type": "array", "items": draw(inner), **bounds}


def _nested(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    unions = st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts})
    return st.one_of(_objects(inner), _arrays(inner), unions)


def schemas() -> st.SearchStrategy[Schema]:
    """Objects, arrays and unions of scalars, a few levels deep; never empty."""
    return st.recursive(_scalars(), _nested, max_leaves=6)


def recursive_tree() -> Schema:
    """A schema that refers to itself."""
    node = {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        "required": ["value", "next"],
        "additionalProperties": False,
    }
    return {"$defs": {"node": node}, "$ref": "#/$defs/node"}
