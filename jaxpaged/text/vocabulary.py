"""One tokenizer's token ids as text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tokenizers import Tokenizer

from jaxpaged.text.token_spelling import TokenSpelling

REPLACEMENT = "\ufffd"
_CONTEXT = 4  # a UTF-8 character has at most four bytes, so at most four tokens


class Vocabulary:
    """Decodes ids with the `tokenizers` backend of a Hugging Face tokenizer.

    `special_ids` are left out of text by skip_special_tokens; `added` maps every added token (special or not) to its
    spelling. Ids that the tokenizer does not know (padding of the logits) decode to nothing.
    """

    def __init__(self, backend: Tokenizer) -> None:
        added = backend.get_added_tokens_decoder()
        self.special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        self.added = {token_id: token.content for token_id, token in added.items()}
        self._backend = backend
        self._anchor = backend.encode("a", add_special_tokens=False).ids[-1:]
        self._anchor_text = self.decode(self._anchor)
        self.token_text = lru_cache(maxsize=65536)(self._token_text)
        self.token_bytes = lru_cache(maxsize=65536)(self._token_bytes)
        self._spelled = TokenSpelling.of(backend)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of all the ids, special tokens included."""
        return self._backend.decode(token_ids, skip_special_tokens=False)

    def _token_text(self, token_id: int) -> str:
        """The text one token adds to a text: after an anchor, where a decoder does not strip its leading space."""
        if token_id in self.added:
            return self.added[token_id]
        text = self.decode([*self._anchor, token_id])
        if text.startswith(self._anchor_text):
            return text[len(self._anchor_text) :]
        return self.decode([token_id])

    def _token_bytes(self, token_id: int) -> bytes:
        """A token's own bytes, of which a character may take several tokens."""
        spelled = None if token_id in self.added else self._spelled.bytes_of(self._backend.id_to_token(token_id))
        return self.token_text(token_id).encode("utf-8", "replace") if spelled is None else spelled

    def token_text_after(self, context: Sequence[int], token_id: int) -> str:
        """Like token_text, but a token that holds part of a character is worth "" until the one that completes it."""
        text = self.token_text(token_id)
        if not text.endswith(REPLACEMENT):
            return text
        for width in range(1, min(_CONTEXT, len(context)) + 1):
            before = [*self._anchor, *context[-width:]]
            text = self.decode([*before, token_id])
            if not text.endswith(REPLACEMENT):
                return text[len(_common_start(self.decode(before), text)) :]
        return ""


def _common_start(left: str, right: str) -> str:
    length = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return left[:length]
