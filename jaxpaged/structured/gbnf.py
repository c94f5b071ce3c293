"""GBNF, the notation of llama.cpp's grammars: checked, and put so that llguidance's translation to Lark can take it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llguidance.gbnf_to_lark import GbnfToLarkError, gbnf_to_lark

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<literal>"(?:\\.|[^"\\])*")
    |(?P<set>\[(?:\\.|[^\]\\])*\])
    |(?P<rule>[\w-]+(?=[ \t]*::=))
    |(?P<name>[\w-]+)
    |(?P<times>\{[^}]*\})
    |(?P<rest>.)""",
    re.VERBOSE | re.DOTALL,
)
_TIMES = re.compile(r"\{\s*[0-9]{1,7}\s*(,\s*([0-9]{1,7}\s*)?)?\}")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_KEPT = frozenset('"\\[]nrt')


def lark_of_gbnf(text: str) -> str:
    """The grammar in Lark. Raises ValueError, whose text says what is wrong."""
    tokens = [(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(text)]
    names = _names(tokens)
    checked = "".join(_checked(tokens, names))
    try:
        return gbnf_to_lark(checked)
    except GbnfToLarkError as error:
        raise ValueError("it looks like GBNF and is not valid") from error
    except RecursionError as error:
        raise ValueError("its rules are nested too deep") from error


def _names(tokens: list[tuple[str, str]]) -> dict[str, str]:
    """Name of a rule -> one that no translation can take for another one's."""
    rules = [token for kind, token in tokens if kind == "rule"]
    names = {name: f"r{index}" for index, name in enumerate(rules)}
    if not names:
        raise ValueError("it is neither Lark, which has a rule start, nor GBNF, which has a rule root")
    if "root" not in names:
        raise ValueError("a grammar in GBNF needs a rule named root")
    if len(names) < len(rules):
        twice = next(name for index, name in enumerate(rules) if name in rules[:index])
        raise ValueError(f"the rule {twice[:50]!r} is defined twice")
    return {**names, "root": "root"}


def _checked(tokens: list[tuple[str, str]], names: dict[str, str]) -> Iterator[str]:
    for kind, token in tokens:
        if kind in ("rule", "name"):
            if token not in names:
                raise ValueError(f"there is no rule {token[:50]!r}")
            yield names[token]
        elif kind in ("literal", "set"):
            yield _ESCAPE.sub(_character, token)
        elif kind == "times" and not _TIMES.fullmatch(token):
            raise ValueError(f"{token[:50]!r} is no number of times")
        elif kind != "comment":
            yield token


def _character(escape: re.Match[str]) -> str:
    """An escape as the translation takes it: it loses the zeros of a code, and knows few others."""
    *codes, other = escape.groups()
    if other in _KEPT:
        return escape.group()
    code = ord(other) if other else int(next(code for code in codes if code), 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise ValueError(f"{escape.group()} is no character")
    if other and other.isalnum():
        raise ValueError(f"{escape.group()} is no escape")
    return f"\\x{code:02x}" if code < 0x80 else chr(code)
