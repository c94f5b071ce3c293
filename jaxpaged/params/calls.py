"""Calls of tools, which an answer may be instead of what it must look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxpaged.params.tags import ANY_OBJECT, spelled

_NAME, _JSON, _TEXT = "NAME", "JSON", "TEXT"


@dataclass(frozen=True, slots=True)
class CallForm:
    """One way to write calls: `call` for each, `separator` between two, `head` before all of them and `tail` after.

    White space may stand where they hold a blank. In `call`, NAME stands for a function's name, the word JSON for an
    object, and TEXT for whatever the model goes on with.
    """

    call: str
    head: str = ""
    tail: str = ""
    separator: str = ""


@dataclass(frozen=True, slots=True)
class Calls:
    """The functions that may be called, and how. `parallel`: more than one of them.

    `marks` may stand in a TEXT although the tokenizer has them as special tokens, which are no text.
    """

    names: tuple[str, ...]
    forms: tuple[CallForm, ...]
    parallel: bool = True
    marks: tuple[str, ...] = ()


def call_rules(calls: Calls, special: Mapping[str, int]) -> list[str]:
    """Rules of a Lark grammar for `calls`, beside SPACE. `special`: tokens that are no text."""
    names = " | ".join(spelled(name, {}) for name in calls.names)
    pieces = " | ".join(["PIECE", *(f"<[{special[mark]}]>" for mark in calls.marks if mark in special)])
    rules = [f"function: {names}", f"arguments: {ANY_OBJECT}", f"free: ({pieces})*", r"PIECE: /(.|\n)+/"]
    for index, form in enumerate(calls.forms):
        rules.append(f"call_{index}: {_sequence(form.call.split(), special)}")
        more = form.call.endswith(_TEXT) or not calls.parallel
        again = _sequence([*form.separator.split(), f"call_{index}"], special, f"call_{index}")
        repeated = f"call_{index}" if more else f"call_{index} (SPACE? {again})*"
        parts = [_sequence(form.head.split(), special), repeated, _sequence(form.tail.split(), special)]
        rules.append(f"calls_{index}: {' SPACE? '.join(part for part in parts if part)}")
    return [*rules, f"calls: {' | '.join(f'calls_{index}' for index in range(len(calls.forms)))}"]


def _sequence(words: Sequence[str], special: Mapping[str, int], rule: str = "") -> str:
    """Words with white space between; `rule` is one that stands for itself."""
    return " SPACE? ".join(word if word == rule else _word(word, special) for word in words)


def _word(word: str, special: Mapping[str, int]) -> str:
    if word == _JSON:
        return "arguments"
    if word == _TEXT:
        return "free"
    before, name, after = word.partition(_NAME)
    return " ".join(part for part in (spelled(before, special), name and "function", spelled(after, special)) if part)
