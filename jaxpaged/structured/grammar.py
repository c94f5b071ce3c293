"""StructuredOutputsParams to a grammar of llguidance, the library that turns grammars into masks of tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llguidance import LLMatcher, LLParserLimits, regex_to_lark

from jaxpaged.errors import RequestError
from jaxpaged.params.composed import composed
from jaxpaged.params.structured import StructuredOutputsParams
from jaxpaged.params.tags import WHITESPACE
from jaxpaged.structured.choices import choice_expression
from jaxpaged.structured.gbnf import lark_of_gbnf
from jaxpaged.structured.schema import prepared
from jaxpaged.structured.tag_grammar import tag_grammar

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

# Work that cannot be interrupted is bounded by itself: fuel of the lexer, items of the parser (llguidance's defaults).
LIMITS = LLParserLimits(max_lexer_states=50_000, verbose_errors=False)
SILENT = 0  # llguidance's level of logging
_LONGEST_REASON = 200
_OF_OURS = re.compile(r"NoExtensionBias|^at [0-9()]+: failed to compile JSON schema: ")  # the rules around are ours
_GBNF_RULE = re.compile(r"^\s*[\w-]+\s*::=", re.MULTILINE)
# (in llguidance's reason, what to say instead); the first that is found counts
_SENTENCES = (
    ("oneOf constraints", "oneOf is served only where its branches cannot overlap; use anyOf"),
    ("items; max is", "it allows too many things at one place; use fewer alternatives and optional properties"),
    ("generate regex for", "no number fits its bounds, or they have too many digits"),
    ("number out of range", "it holds a number that is too large"),
    ("too many digits", "a number has too many digits"),
    ("too large to fit", "a number is too large"),
    ("panic", "it is too large, or asks for what is not served"),
    ("fuel", "it is too complex; make it simpler"),
    ("lexer error", "it has a character or an escape that Lark does not know"),
    (".rs", "it asks for what is not served"),
    ("unknown field", "x-guidance has an unknown field"),
)


def grammar_of(params: StructuredOutputsParams, special: Mapping[str, int] | None = None) -> str:
    """The grammar's text. `special` are the tokenizer's special tokens, for structural tags. Raises RequestError."""
    try:
        answer = _answer_grammar(params, special or {})
    except RequestError:
        raise
    except ValueError as error:  # the library cannot read it at all
        raise refusal(params, str(error)) from error
    if params.thought is None and params.calls is None:
        return answer
    return composed(answer, params.thought, params.calls, special or {})


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
            return LLMatcher.grammar_from_lark(f"start: /{choice_expression(params.choice or ())}/")
        case "grammar":
            return LLMatcher.grammar_from_lark(_lark(params.grammar or ""))
        case _:
            return LLMatcher.grammar_from_lark(tag_grammar(params.tag(), special))


def refusal(params: StructuredOutputsParams, reason: str) -> RequestError:
    """What to say of a grammar that llguidance would not take; `reason` is its error."""
    return RequestError(f"{params.kind} cannot be used: {_sentence(reason)}.", params._param)


def _sentence(reason: str) -> str:
    """The reason in words of ours where llguidance speaks of its own insides."""
    for sign, words in _SENTENCES:
        if sign in reason:
            return words
    lines = [line.strip() for line in reason.strip().split("\n")]
    details = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    found = _OF_OURS.sub("", (details or lines)[0].removesuffix("."))[:_LONGEST_REASON]
    return found or "it allows no answer"


def _json_grammar(schema: dict[str, Any], params: StructuredOutputsParams) -> str:
    schema = prepared(schema, always_closed=params.disable_additional_properties)
    options: JsonCompileOptions = {"whitespace_pattern": params.whitespace_pattern or WHITESPACE}
    if params.disable_any_whitespace:
        options = {"whitespace_flexible": False}
    return LLMatcher.grammar_from_json_schema(json.dumps(schema, ensure_ascii=False), overrides=options)


def _lark(text: str) -> str:
    return lark_of_gbnf(text) if _GBNF_RULE.search(text) else text
