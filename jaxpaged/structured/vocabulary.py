"""A tokenizer as grammars see it: the bytes of every token."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llguidance import LLTokenizer, TokenizerWrapper
from tokenizers import Tokenizer

from jaxpaged.config import ModelConfig
from jaxpaged.errors import ConfigError
from jaxpaged.hub.model_directory import resolve_tokenizer
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
        spelled = _Spelled(tokens, sorted(special.values()), plain.eos_token, plain.tokenize_str)
        reachable = {name: id for name, id in special.items() if id < vocab_size}
        return cls(LLTokenizer(TokenizerWrapper(spelled)), reachable, -(-vocab_size // 32))


@dataclass(frozen=True, slots=True)
class _Spelled:
    """What TokenizerWrapper asks of a tokenizer.

    LLTokenizer alone takes every added token that looks like <this> for a special one, and allows it in a text that it
    then refuses; </think> and <tool_call> are text for many models.
    """

    tokens: Sequence[bytes]
    special_token_ids: Sequence[int]
    eos_token_id: int
    encode: Callable[[str], list[int]]
    bos_token_id: int | None = None

    def __call__(self, text: bytes | str) -> list[int]:
        return self.encode(text if isinstance(text, str) else text.decode("utf-8", "replace"))


def byte_vocabulary() -> GrammarVocabulary:
    """Bytes as tokens, for checking grammars where the model's tokenizer is not at hand."""
    tokens = [*(bytes([value]) for value in range(256)), b"<end>"]
    spelled = _Spelled(tokens, (256,), 256, lambda text: list(text.encode()))
    return GrammarVocabulary(LLTokenizer(TokenizerWrapper(spelled)), {}, -(-len(tokens) // 32))


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
