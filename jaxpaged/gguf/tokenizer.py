"""tokenizer.json and tokenizer_config.json from a GGUF file's vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

from jaxpaged.errors import ConfigError
from jaxpaged.gguf.byte_level import byte_level_split, byte_level_tokenizer
from jaxpaged.gguf.metadata import Metadata
from jaxpaged.gguf.sentence_piece import sentence_piece_tokenizer
from jaxpaged.gguf.vocabulary import CONTROL, USER_DEFINED, Vocabulary, read_vocabulary

CHAT_TEMPLATE = "tokenizer.chat_template"
BYTE_LEVEL, SENTENCE_PIECE = "gpt2", "llama"
BUILDERS: Mapping[str, Callable[[Vocabulary], Tokenizer]] = {
    BYTE_LEVEL: byte_level_tokenizer,
    SENTENCE_PIECE: sentence_piece_tokenizer,
}
# transformers' name for a special token -> GGUF's
SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def read_tokenizer(metadata: Metadata) -> tuple[Tokenizer, dict[str, Any]]:
    """The tokenizer and the settings that go into tokenizer_config.json. Raises ConfigError."""
    vocabulary = read_vocabulary(metadata)
    kind = vocabulary.value("model")
    if kind not in BUILDERS:
        raise vocabulary.refusal(f"is of the kind {kind!r}, where {' and '.join(BUILDERS)} are read")
    try:
        tokenizer = BUILDERS[kind](vocabulary)
    except ConfigError:
        raise
    except Exception as error:  # the Rust library raises bare Exception
        raise vocabulary.refusal(f"cannot be put together ({error})") from error
    _add_tokens(tokenizer, vocabulary)
    _add_ends(tokenizer, vocabulary)
    special = {name: vocabulary.special(key) for name, key in SPECIAL.items()}
    return tokenizer, {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "chat_template": metadata.all.get(CHAT_TEMPLATE),
        **{name: token for name, token in special.items() if token is not None},
    }


def _add_tokens(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    """Control tokens are special; user-defined ones are text that always stays whole."""
    # Phi-3's tokenizer.json lets its markers take the white space behind them; GGUF has no place for that.
    strips = vocabulary.metadata.architecture == "phi3" and vocabulary.value("model") == SENTENCE_PIECE
    known = vocabulary.ids
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False, rstrip=strips and token.startswith("<|"))
            for token in vocabulary.of_kind(CONTROL)
        ]
    )
    whole = [token for token in vocabulary.of_kind(USER_DEFINED) if token in known and not token.isspace()]
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in whole])


def _add_ends(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    """The bos and eos tokens around every text, where the file wants them."""
    byte_level = vocabulary.value("model") == BYTE_LEVEL
    by_default = byte_level_split(vocabulary).add_bos if byte_level else True
    bos = vocabulary.special("bos") if vocabulary.value("add_bos_token", by_default) else None
    eos = vocabulary.special("eos") if vocabulary.value("add_eos_token", False) else None
    ends = [token for token in (bos, eos) if token is not None]
    if ends:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[*([bos] if bos else []), "$A", *([eos] if eos else [])],
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in ends],
        )
