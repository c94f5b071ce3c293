"""What an answer must look like: vLLM's StructuredOutputsParams, with its names. No arrays, no grammar library."""

from __future__ import annotations

import json as json_text
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxpaged.errors import RequestError
from jaxpaged.params.calls import Calls
from jaxpaged.params.json_limits import MAX_BYTES, MAX_CHOICES, check_json, check_schema
from jaxpaged.params.thought import Thought

PARAM = "structured_outputs"
REFINEMENTS = ("disable_any_whitespace", "disable_additional_properties", "whitespace_pattern")
CONSTRAINTS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
_WIRE_FIELDS = frozenset((*CONSTRAINTS, *REFINEMENTS))


@dataclass(frozen=True, slots=True)
class GrammarCost:
    """What it took to compile a grammar: seconds of computing, bytes of memory."""

    seconds: float = 0.0
    bytes: int = 0


@dataclass(slots=True)
class StructuredOutputsParams:
    """Exactly one of `json` (a schema), `regex`, `choice`, `grammar` (Lark or GBNF), `json_object`, `structural_tag`.

    A schema or a structural tag is a mapping or JSON text. An answer ends where its constraint is complete.
    disable_any_whitespace: no whitespace between tokens. whitespace_pattern: a regular expression for it; by default a
    blank, or a new line with indentation. disable_additional_properties: only named properties, in composed objects
    too (other objects are closed by default unless additionalProperties opens them, as in vLLM). Raises RequestError.
    `thought` may come before the answer, and `calls` of tools instead of it: servers fill them in, where the model's
    chat template has them and the request offers tools.
    `_param` is what errors blame: the field that a client sent; `_cost` what the front end has found out by trying.
    """

    json: str | dict[str, Any] | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    whitespace_pattern: str | None = None
    structural_tag: str | dict[str, Any] | None = None
    thought: Thought | None = None
    calls: Calls | None = None
    _param: str = field(default=PARAM, repr=False, compare=False)
    _cost: GrammarCost = field(default=GrammarCost(), repr=False, compare=False)

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any], param: str = PARAM) -> StructuredOutputsParams:
        """From its fields by name, of which None stands for absent. Later errors blame the parameter `param`."""
        unknown = sorted(str(name) for name in fields if name not in _WIRE_FIELDS)
        if unknown:
            raise RequestError(f"{param} has no field {unknown[0][:50]!r}; it has {', '.join(CONSTRAINTS)}.", param)
        return cls(**{name: value for name, value in fields.items() if value is not None}, _param=param)

    def __post_init__(self) -> None:
        self._check_flags()
        given = [name for name in CONSTRAINTS if getattr(self, name) is not None]
        if len(given) != 1:
            what = f"got {' and '.join(given)}" if given else "got none of them"
            raise RequestError(f"{PARAM} takes exactly one of {', '.join(CONSTRAINTS)}; {what}.", PARAM)
        for name in ("regex", "grammar"):
            _check_text(name, getattr(self, name))
        if self.choice is not None:
            self.choice = _choices(self.choice)
        if self.json is not None:
            check_schema(self.schema())
        if self.structural_tag is not None:
            check_json(self.tag(), "structural_tag")

    def given(self) -> dict[str, Any]:
        """The fields that were given, by name, as of_fields() takes them."""
        return {name: value for name in sorted(_WIRE_FIELDS) if (value := getattr(self, name)) not in (None, False)}

    @property
    def kind(self) -> str:
        """Which of CONSTRAINTS it is."""
        return next(name for name in CONSTRAINTS if getattr(self, name) is not None)

    def schema(self) -> dict[str, Any]:
        """The JSON schema of `json`."""
        return _mapping("json", self.json)

    def tag(self) -> dict[str, Any]:
        """The structural tag of `structural_tag`."""
        return _mapping("structural_tag", self.structural_tag)

    def _check_flags(self) -> None:
        if self.json_object is not None and not isinstance(self.json_object, bool):
            raise RequestError("json_object must be true or false.", PARAM)
        if not self.json_object:
            self.json_object = None
        for name in ("disable_any_whitespace", "disable_additional_properties"):
            if not isinstance(getattr(self, name), bool):
                raise RequestError(f"{name} must be true or false.", PARAM)
        _check_text("whitespace_pattern", self.whitespace_pattern)


def structured_outputs(value: object) -> StructuredOutputsParams | None:
    """`value` as StructuredOutputsParams, from a mapping of its fields too. Raises RequestError."""
    if value is None or isinstance(value, StructuredOutputsParams):
        return value
    if not isinstance(value, dict):
        raise RequestError(f"{PARAM} must be a StructuredOutputsParams or a mapping of its fields.", PARAM)
    return StructuredOutputsParams.of_fields(value)


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise RequestError(f"{name} must be a string.", PARAM)
    if not value:
        raise RequestError(f"{name} is empty.", PARAM)
    if len(value) > MAX_BYTES or len(value.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise RequestError(f"{name} is longer than {MAX_BYTES} bytes.", PARAM)
    if not _is_unicode(value):
        raise RequestError(f"{name} holds half of a surrogate pair, which is no text.", PARAM)


def _choices(value: object) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise RequestError("choice must be a list of strings.", PARAM)
    if not value or "" in value:
        raise RequestError("choice must hold texts, and none that is empty.", PARAM)
    if len(value) > MAX_CHOICES or sum(map(len, value)) > MAX_BYTES:
        raise RequestError(f"choice takes at most {MAX_CHOICES} texts of together {MAX_BYTES} bytes.", PARAM)
    if not all(map(_is_unicode, value)):
        raise RequestError("choice holds half of a surrogate pair, which is no text.", PARAM)
    return list(dict.fromkeys(value))


def _mapping(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, str):
        _check_text(name, value)
        try:
            value = json_text.loads(value)
        except json_text.JSONDecodeError as error:
            raise RequestError(f"{name} is not valid JSON.", PARAM) from error
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{name} is nested too deep or holds a number that is too long.", PARAM) from error
    if not isinstance(value, dict):
        raise RequestError(f"{name} must be a JSON object.", PARAM)
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()  # much faster than a look at every character
    except UnicodeEncodeError:
        return False
    return True
