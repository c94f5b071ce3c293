"""A choice of texts as one expression, in which texts with the same beginning share it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

_DEEPEST = 64  # shared beginnings within shared beginnings; further down texts are written out


def choice_expression(texts: Sequence[str]) -> str:
    """An expression that matches these texts. A plain list of thousands would cost seconds at every token."""
    return _any_of(sorted(set(texts)), 0)


def _any_of(texts: list[str], depth: int) -> str:
    """`texts` are sorted and differ, so that those with the same beginning are neighbours."""
    if len(texts) == 1 or depth == _DEEPEST:
        return "|".join(map(_escaped, texts))
    begin = _shared(texts[0], texts[-1])
    rests = [text[len(begin) :] for text in texts]
    branches = [_any_of(list(group), depth + 1) for _, group in groupby(rests, lambda rest: rest[:1])]
    return f"{_escaped(begin)}({'|'.join(branches)})"


def _shared(first: str, last: str) -> str:
    """How both begin."""
    length = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:length]


def _escaped(text: str) -> str:
    return "".join(
        character if character.isalnum() and character.isascii() else f"\\x{{{ord(character):x}}}" for character in text
    )
