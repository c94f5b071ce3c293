"""A tokenizer as grammars see it: the bytes of every token."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llguidance import LLTokenizer, TokenizerWrapper
from tokenizers import Tokenizer

from jaxpaged.config import ModelConfig
from jaxpaged.errors import ConfigError
from jaxpaged.hub.model_directory import resolve_tokenizer
from jaxpaged.structured.byte_vocabulary import SpelledTokens
from jaxpaged.text.tokenizer import load_tokenizer

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
        known = Tokenizer.from_str(text)
        ids = set(known.get_vocab(with_added_tokens=True).values())
        size = max(vocab_size, *(token + 1 for token in ids))  # added tokens may lie beyond the logits
        added = known.get_added_tokens_decoder()
        special = {token.content: id for id, token in added.items() if token.special}
        plain = LLTokenizer(text, n_vocab=size)
        tokens = [plain.decode_bytes([id]) if id in ids else b"" for id in range(size)]
        spelled = SpelledTokens(tokens, sorted(special.values()), plain.eos_token, plain.tokenize_str)
        reachable = {name: id for name, id in special.items() if id < vocab_size}
        return cls(LLTokenizer(TokenizerWrapper(spelled)), reachable, -(-vocab_size // 32))


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
