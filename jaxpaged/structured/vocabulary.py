"""A tokenizer as grammars see it: the bytes of every token."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llguidance import LLTokenizer, TokenizerWrapper

from jaxpaged.config import ModelConfig
from jaxpaged.errors import ConfigError
from jaxpaged.text.tokenizer import load_tokenizer
from jaxpaged.weights.hub import resolve_tokenizer

log = logging.getLogger("jaxpaged")


@dataclass(frozen=True, slots=True)
class GrammarVocabulary:
    """`special` maps special tokens, which are no text, to their ids. `words`: int32 words of a mask of all logits."""

    tokenizer: LLTokenizer
    special: Mapping[str, int]
    words: int

    @classmethod
    def from_json(cls, text: str, vocab_size: int) -> GrammarVocabulary:
        """Read a tokenizer.json for a model with `vocab_size` logits. Raises ValueError for an unknown kind."""
        added = json.loads(text).get("added_tokens") or []
        special = {token["content"]: token["id"] for token in added if token["special"] and token["id"] < vocab_size}
        size = max([vocab_size, *(token["id"] + 1 for token in added)])  # added tokens may lie beyond the logits
        return cls(LLTokenizer(text, n_vocab=size), special, -(-vocab_size // 32))


class _Bytes:
    """What TokenizerWrapper asks of a tokenizer, for one whose tokens are the bytes."""

    eos_token_id, bos_token_id, special_token_ids = 256, None, (256,)
    tokens = (*(bytes([value]) for value in range(256)), b"\xff<end>")

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def byte_vocabulary() -> GrammarVocabulary:
    """For checking grammars where the model's tokenizer is not at hand."""
    return GrammarVocabulary(LLTokenizer(TokenizerWrapper(_Bytes())), {}, 9)


def load_vocabulary(config: ModelConfig, directory: Path, vocab_size: int) -> GrammarVocabulary | None:
    """The vocabulary of the model's tokenizer; None, with a warning, where there is none that grammars can use."""
    if config.skip_tokenizer_init:
        return None
    try:
        return GrammarVocabulary.from_json(_tokenizer_json(resolve_tokenizer(config) or directory), vocab_size)
    except (ConfigError, ValueError) as error:
        log.warning("structured output cannot be served with this tokenizer (%s)", error)
        return None


def _tokenizer_json(directory: Path) -> str:
    path = directory / "tokenizer.json"
    if path.is_file():  # as it is: importing transformers takes a second
        return path.read_text("utf-8")
    text: str = load_tokenizer(directory).backend_tokenizer.to_str()
    return text
