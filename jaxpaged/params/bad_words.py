"""How a tokenizer spells a word: at the beginning of a text, after a space, and right after something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_BEFORE = "\n"  # a character that no tokenizer joins with what follows it


def spellings(word: str, encode: Callable[[str], Sequence[int]]) -> list[list[int]]:
    """The token sequences of a word with and without a space before it; none where it has no tokens.

    Tokenizers that begin every text with a space (SentencePiece's) show the bare word only after something else.
    A sequence that ends with another one is left out: whoever forbids the shorter forbids it too.
    """
    bare = word.lstrip() or word  # white space itself may be the word
    found = [_as_list(encode(bare)), _after(bare, encode), _as_list(encode(" " + bare))]
    found = [sequence for sequence in found if sequence]
    return [one for place, one in enumerate(found) if not any(_covers(other, one) for other in _others(found, place))]


def _after(word: str, encode: Callable[[str], Sequence[int]]) -> list[int]:
    """The word's tokens where something that is no space comes before it; none where they cannot be told apart."""
    before, both = _as_list(encode(_BEFORE)), _as_list(encode(_BEFORE + word))
    return both[len(before) :] if both[: len(before)] == before else []


def _covers(shorter: list[int], longer: list[int]) -> bool:
    return longer[-len(shorter) :] == shorter


def _others(found: list[list[int]], place: int) -> list[list[int]]:
    """All but the one at `place` and later ones that equal it: of equals the first is kept."""
    return [one for index, one in enumerate(found) if index < place or (index > place and one != found[place])]


def _as_list(ids: Sequence[int]) -> list[int]:
    return list(ids)
