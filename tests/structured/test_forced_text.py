"""Where a grammar leaves no choice, the tokens of the forced text are forced, whatever its length costs."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpaged.structured import byte_vocabulary
from tests.structured.grammars import compiled


@pytest.mark.parametrize("regex", ["e{5000}", "(hello world ){400}!", "[ab](yes, no; ){500}"])
def test_the_tokens_of_a_long_forced_text_are_those_of_its_beginning(regex, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked up at each token: all of it would be quadratic work."""
    found = forced_masks(regex)
    monkeypatch.setattr(byte_vocabulary, "_LONGEST_TEXT", 10**6)
    assert forced_masks(regex) == found


def test_a_long_forced_text_is_not_tokenized_whole() -> None:
    asked: list[int] = []
    spelled = byte_vocabulary.SpelledTokens([b"a"], [], 0, lambda text: asked.append(len(text)) or [])
    spelled("a" * 100_000)
    spelled(b"\xff" * 100_000)
    assert max(asked) <= 1024


def forced_masks(regex: str) -> list[bytes]:
    """What may follow, at each of 40 tokens."""
    at = compiled(regex=regex).start.copy()
    masks = [at.advance(())]
    for _ in range(40):
        (token, *_) = np.flatnonzero(np.unpackbits(masks[-1].words.view(np.uint8), bitorder="little"))
        masks.append(at.advance([int(token)]))
    return [mask.words.tobytes() for mask in masks]
