"""Bytes as tokens, for trying grammars where the model's own tokens are not at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from llguidance import LLTokenizer, TokenizerWrapper

_BYTES = 256
_LONGEST_TEXT = 1024  # characters, more than any token has


@dataclass(frozen=True, slots=True)
class SpelledTokens:
    """What TokenizerWrapper asks of a tokenizer.

    LLTokenizer alone takes every added token that looks like <this> for a special one, and allows it in a text that it
    then refuses; </think> and <tool_call> are text for many models.

    It is asked for the tokens of a text that has to follow, to force the first of them, at each token anew. So the
    beginning of a long text is enough; all of it would hold every other thread for a tenth of a second.
    """

    tokens: Sequence[bytes]
    special_token_ids: Sequence[int]
    eos_token_id: int
    encode: Callable[[str], list[int]]
    bos_token_id: int | None = None

    def __call__(self, text: bytes | str) -> list[int]:
        whole = text if isinstance(text, str) else text.decode("utf-8", "replace")
        return self.encode(whole[:_LONGEST_TEXT])


@dataclass(frozen=True, slots=True)
class ByteVocabulary:
    """A model's `special` tokens with their ids, which grammars may name, among `size` ids; text is single bytes."""

    special: Mapping[str, int] = field(default_factory=dict)
    size: int = 0

    def tokenizer(self) -> LLTokenizer:
        """The last id, which the model does not have, ends a sequence."""
        taken = set(self.special.values())
        size = max(self.size, _BYTES + len(taken), *(id + 1 for id in taken), 0)
        tokens = [b""] * size + [b"<end>"]
        for name, id in self.special.items():
            tokens[id] = name.encode()
        free = (id for id in count() if id not in taken)
        ids = [next(free) for _ in range(_BYTES)]
        for value, id in enumerate(ids):
            tokens[id] = bytes([value])
        encode = lambda text: [ids[value] for value in text.encode()]  # noqa: E731
        return LLTokenizer(TokenizerWrapper(SpelledTokens(tokens, (*sorted(taken), size), size, encode)))
