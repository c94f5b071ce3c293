"""Keeps texts of requests from becoming special tokens: a spelled one is taken out before a template runs.

In its place stands a mark of two noncharacters, which no text of any language holds, with a number between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
# templates that print JSON or Python's repr may escape the marks
_MARK = re.compile(r"(?:\ufdd0|\\ufdd0)([0-9]{1,9})(?:\ufdd1|\\ufdd1)")
_TURN = re.compile(r"<[|｜].*[|｜]>", re.DOTALL)  # noqa: RUF001 - DeepSeek's bars
_SHORT = 64
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))


@dataclass(frozen=True, slots=True)
class Spellings:
    """Spellings of control tokens, and what the ends of two neighbouring texts could put together to one."""

    whole: re.Pattern[str]
    taken: re.Pattern[str]
    beginnings: frozenset[str]
    ends: frozenset[str]
    insides: frozenset[str]
    longest: int


def spellings_of(tokenizer: PreTrainedTokenizerFast) -> Spellings:
    """Special tokens, and other added ones that look like the mark of a turn (DeepSeek's <|User|> is not special)."""
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
    return _spellings(frozenset(token.content for token in added if token.special or _TURN.fullmatch(token.content)))


@lru_cache(maxsize=8)
def _spellings(tokens: frozenset[str]) -> Spellings:
    alternatives = [re.escape(token) for token in sorted(tokens, key=len, reverse=True) if token]
    none = r"(?!)"
    return Spellings(
        re.compile("|".join(alternatives) or none),
        re.compile("|".join([*alternatives, _OPEN, re.escape(r"\ufdd0")])),
        frozenset(token[:end] for token in tokens for end in range(1, len(token))),
        frozenset(token[start:] for token in tokens for start in range(1, len(token))),
        frozenset(
            token[start:end]
            for token in tokens
            for start in range(1, len(token))
            for end in range(start + 1, len(token))
        ),
        max(map(len, tokens), default=0),
    )


class SpelledTokens:
    """Takes special tokens out of the texts of one request and puts them back, as text, into what was rendered.

    With `edges` also what could become one beside another text ("<|im_" at an end); `has_edges`: there was such a text.
    """

    def __init__(self, spellings: Spellings, *, edges: bool = False) -> None:
        self._spellings = spellings
        self._edges = edges
        self._taken: list[str] = []
        self._known: dict[str, tuple[int, int]] = {}
        self.has_edges = False

    def take_out(self, value: Any) -> Any:
        """Any JSON value without the special tokens that its texts spell. Raises RecursionError."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {self.take_out(name): self.take_out(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.take_out(part) for part in value]
        return value

    def take_out_of_message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """As take_out(); templates may build marks around roles and names, so a part of a token counts there too."""
        return {self.take_out(field): self._field(field, value) for field, value in message.items()}

    def tokens_in(self, rendered: str) -> list[str]:
        """The special tokens that `rendered` spells by itself."""
        return self._spellings.whole.findall(rendered)

    def put_back(self, rendered: str) -> str:
        return "".join(text for text, _ in self.pieces(rendered))

    def pieces(self, rendered: str) -> Iterator[tuple[str, bool]]:
        """`rendered` in pieces; True: it is what was taken out, and must not become a token."""
        at = 0
        for mark in _MARK.finditer(rendered):
            if int(mark[1]) < len(self._taken):
                yield rendered[at : mark.start()], False
                yield self._taken[int(mark[1])], True
                at = mark.end()
        yield rendered[at:], False

    def _field(self, field: str, value: Any) -> Any:
        if field == "role" and value in _ROLES:
            return value
        if field in ("role", "name") and isinstance(value, str) and value in self._spellings.insides:
            self.has_edges = True
            return self._mark(value) if self._edges else value
        return self.take_out(value)

    def _text(self, text: str) -> str:
        begin, end = self._edges_of(text)
        self.has_edges = self.has_edges or begin > 0 or end < len(text)
        if not self._edges:
            begin, end = 0, len(text)
        if begin >= end:
            return self._mark(text) if text else text
        middle = self._spellings.taken.sub(lambda found: self._mark(found[0]), text[begin:end])
        return (
            (self._mark(text[:begin]) if begin else "") + middle + (self._mark(text[end:]) if end < len(text) else "")
        )

    def _edges_of(self, text: str) -> tuple[int, int]:
        """Where the characters end that could complete a token, and where those begin that could begin one."""
        if text in self._known:
            return self._known[text]
        edges = self._begin(text), self._end(text)
        if len(text) <= _SHORT:  # names and types come again and again
            self._known[text] = edges
        return edges

    def _begin(self, text: str) -> int:
        lengths = range(min(len(text), self._spellings.longest), 0, -1)
        return next((length for length in lengths if text[:length] in self._spellings.ends), 0)

    def _end(self, text: str) -> int:
        lengths = range(min(len(text), self._spellings.longest), 0, -1)
        return next(
            (len(text) - length for length in lengths if text[-length:] in self._spellings.beginnings), len(text)
        )

    def _mark(self, text: str) -> str:
        self._taken.append(text)
        return f"{_OPEN}{len(self._taken) - 1}{_CLOSE}"
