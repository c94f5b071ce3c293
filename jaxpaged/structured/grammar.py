"""StructuredOutputsParams to a grammar of llguidance, the library that turns grammars into masks of tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llguidance import LLMatcher, LLParserLimits, regex_to_lark
from llguidance.gbnf_to_lark import GbnfToLarkError, any_to_lark

from jaxpaged.errors import RequestError
from jaxpaged.params.structured import StructuredOutputsParams
from jaxpaged.params.tags import WHITESPACE, read_structural_tag, tag_grammar
from jaxpaged.params.thought import after_thought

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

# Work that cannot be interrupted is bounded by itself: fuel of the lexer, items of the parser (llguidance's defaults).
LIMITS = LLParserLimits(max_lexer_states=50_000, verbose_errors=False)
SILENT = 0  # llguidance's level of logging
_LONGEST_REASON = 200
_COMPOSING = frozenset(("allOf", "if", "not", "dependentSchemas", "unevaluatedProperties", "$dynamicRef"))


def grammar_of(params: StructuredOutputsParams, special: Mapping[str, int] | None = None) -> str:
    """The grammar's text. `special` are the tokenizer's special tokens, for structural tags. Raises RequestError."""
    answer = _answer_grammar(params, special or {})
    return answer if params.thought is None else after_thought(answer, params.thought, special or {})


def _answer_grammar(params: StructuredOutputsParams, special: Mapping[str, int]) -> str:
    match params.kind:
        case "json":
            return _json_grammar(params.schema(), params)
        case "json_object":
            return _json_grammar({"type": "object"}, params)
        case "regex":
            # digits are 0-9, as in a schema's patterns: what other digits there are depends on the version of Unicode
            expression = regex_to_lark(params.regex or "", use_ascii="d")
            return LLMatcher.grammar_from_lark(f"start: /{expression}/")
        case "choice":
            texts = " | ".join(json.dumps(text, ensure_ascii=False) for text in params.choice or ())
            # a terminal: a rule with so many alternatives would be more than the parser takes at one place
            return LLMatcher.grammar_from_lark(f"start: CHOICE\nCHOICE: {texts}")
        case "grammar":
            return LLMatcher.grammar_from_lark(_lark(params))
        case _:
            return LLMatcher.grammar_from_lark(tag_grammar(read_structural_tag(params.tag()), special))


def refusal(params: StructuredOutputsParams, reason: str) -> RequestError:
    """What to say of a grammar that llguidance would not take; `reason` is its error."""
    return RequestError(f"{params.kind} cannot be used: {_sentence(reason)}.", params._param)


def _sentence(reason: str) -> str:
    if "oneOf constraints" in reason:
        return "oneOf is served only where its branches cannot overlap; use anyOf"
    if "items; max is" in reason:
        return "it allows too many things at one place; use fewer alternatives and optional properties"
    lines = [line.strip() for line in reason.strip().split("\n")]
    details = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    found = (details or lines)[0].removesuffix(".").replace("NoExtensionBias", "")[:_LONGEST_REASON]
    return found or "it allows no answer"


def _json_grammar(schema: dict[str, Any], params: StructuredOutputsParams) -> str:
    if params.disable_additional_properties or not _is_composed(schema):
        schema = _closed(schema)
    options: JsonCompileOptions = {"whitespace_pattern": params.whitespace_pattern or WHITESPACE}
    if params.disable_any_whitespace:
        options = {"whitespace_flexible": False}
    return LLMatcher.grammar_from_json_schema(json.dumps(schema, ensure_ascii=False), overrides=options)


def _is_composed(part: Any) -> bool:
    """Whether an object's properties may be named in several places, so that none of them can be closed by itself."""
    if isinstance(part, list):
        return any(map(_is_composed, part))
    if not isinstance(part, dict):
        return False
    names = part.get("properties", {})
    shared = "properties" in part and any(word in part for word in ("anyOf", "oneOf", "$ref"))
    unnamed = isinstance(names, dict) and not set(map(str, part.get("required") or ())) <= names.keys()
    return bool(_COMPOSING & part.keys()) or shared or unnamed or any(map(_is_composed, part.values()))


def _closed(part: Any) -> Any:
    """A schema whose objects take no properties but the named ones, where it does not say whether they may.

    So do vLLM's grammars by default; a model that has written what it was asked for would go on with names of its own.
    """
    if isinstance(part, list):
        return [_closed(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    closed = {name: _closed(inner) for name, inner in part.items()}
    if "additionalProperties" not in closed and isinstance(part.get("properties", part.get("patternProperties")), dict):
        closed["additionalProperties"] = False
    return closed


def _lark(params: StructuredOutputsParams) -> str:
    try:
        return any_to_lark(params.grammar or "")
    except (GbnfToLarkError, RecursionError, ValueError, LookupError, AssertionError) as error:
        raise refusal(params, "it looks like GBNF and is not valid") from error
