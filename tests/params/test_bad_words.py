"""Bad words are forbidden as they are spelled with a space before them and without."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tokenizers import Tokenizer

from jaxpaged.hub.model_directory import BUNDLED_MODEL
from jaxpaged.params.bad_words import spellings
from tests.text.samples import byte_fallback_backend, byte_level_backend

BUNDLED = Tokenizer.from_file(str(BUNDLED_MODEL / "tokenizer.json"))
BACKENDS = {"byte_level": byte_level_backend(), "pieces": byte_fallback_backend(), "bundled": BUNDLED}
WORDS = ["hello", " hello", "stop", "tomato", "world", "the", "naïve", "你好", "🙂", "New York"]
CONTEXTS = ["a ", "a", "(", "\n", "", '"', "a  ", "the end. "]


def ids(backend: Tokenizer, text: str) -> list[int]:
    return backend.encode(text, add_special_tokens=False).ids


def holds(tokens: Sequence[int], sequences: Sequence[Sequence[int]]) -> bool:
    return any(list(one) == list(tokens[i : i + len(one)]) for one in sequences for i in range(len(tokens)))


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_every_spelling_is_found(backend: Tokenizer, word: str) -> None:
    """Wherever a tokenizer meets the word in a text, it is one of the sequences that are forbidden."""
    found = spellings(word, lambda text: ids(backend, text))
    assert 1 <= len(found) <= 2
    for before in CONTEXTS:
        bare = word.lstrip()
        if before != "a" or bare[0] in "你🙂":  # "ahello" is another word
            assert holds(ids(backend, before + bare), found), (before, found)


def test_spellings_of_other_lengths_are_kept() -> None:
    """The spaced word has two tokens and the bare one three: vLLM forbids the bare one only."""
    sequences = {"tomato": [1, 2, 3], " tomato": [4, 3], "\n": [0], "\ntomato": [0, 1, 2, 3]}
    assert spellings("tomato", sequences.__getitem__) == [[1, 2, 3], [4, 3]]


def test_a_spelling_that_ends_with_another_is_left_out() -> None:
    sequences = {"x": [7], " x": [5, 7], "\n": [0], "\nx": [0, 7]}
    assert spellings("x", sequences.__getitem__) == [[7]]


@pytest.mark.parametrize("word", ["\n", " ", "\t\n"])
def test_white_space_may_be_the_word(word: str) -> None:
    backend = BACKENDS["byte_level"]
    assert holds(ids(backend, word), spellings(word, lambda text: ids(backend, text)))
