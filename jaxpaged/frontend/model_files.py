"""What a front end reads from a model directory: its tokenizer and what it says about generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jaxpaged.config import ModelConfig
from jaxpaged.errors import RequestError
from jaxpaged.frontend.generation_config import GenerationConfig, load_generation_config
from jaxpaged.hub.model_directory import resolve_model, resolve_tokenizer
from jaxpaged.structured.byte_vocabulary import ByteVocabulary
from jaxpaged.text.chat_template import study_templates
from jaxpaged.text.tokenizer import load_tokenizer
from jaxpaged.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """`tokenizer` and `vocabulary` are None with skip_tokenizer_init: token ids in, token ids out."""

    tokenizer: PreTrainedTokenizerFast | None
    vocabulary: Vocabulary | None
    generation: GenerationConfig

    def need_tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer. Raises RequestError where there is none."""
        if self.tokenizer is None:
            raise RequestError("There is no tokenizer: skip_tokenizer_init is set.")
        return self.tokenizer

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included. Raises RequestError without a tokenizer."""
        if self.vocabulary is None:
            raise RequestError("There is no tokenizer: skip_tokenizer_init is set.")
        return self.vocabulary.decode(token_ids)

    def grammar_vocabulary(self, size: int) -> ByteVocabulary:
        """What grammars may name of a vocabulary of `size` ids: its special tokens."""
        known = self.vocabulary
        if known is None:
            return ByteVocabulary({}, size)
        return ByteVocabulary({known.added[id]: id for id in known.special_ids if id < size}, size)


def load_front_end(config: ModelConfig, *, chat_template: str | None = None) -> FrontEnd:
    """Find the model that `config` names (downloading what is not here) and read its directory. Raises ConfigError."""
    return read_front_end(config, resolve_model(config), resolve_tokenizer(config), chat_template=chat_template)


def read_front_end(
    config: ModelConfig, model: Path, tokenizer: Path | None = None, *, chat_template: str | None = None
) -> FrontEnd:
    """Read the directory `model`, and the tokenizer from `tokenizer` where that is another one.

    `chat_template` replaces the tokenizer's own. Raises ConfigError.
    """
    loaded = None
    if not config.skip_tokenizer_init:
        loaded = load_tokenizer(tokenizer or model, chat_template=chat_template)
        study_templates(loaded)
    eos = loaded.eos_token_id if loaded is not None else None
    generation = load_generation_config(
        model,
        tokenizer_eos=eos if isinstance(eos, int) else None,
        source=config.generation_config,
        override=config.override_generation_config,
    )
    return FrontEnd(loaded, Vocabulary(loaded.backend_tokenizer) if loaded is not None else None, generation)
