"""Load a tokenizer from a model directory, without torch and without running code from the directory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from jaxpaged.errors import ConfigError
from jaxpaged.hub.model_directory import CONFIG, read_json
from jaxpaged.hub.pointers import refuse_pointer
from jaxpaged.text.converted_tokenizer import convert_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "tiktoken.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)
LETTERS_SHOWN = 300
# transformers fills itself lazily: of two threads that import it at once, one finds it half made.
_IMPORTING = Lock()


def load_tokenizer(directory: Path, *, chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """The Hugging Face tokenizer of `directory`; `chat_template` replaces the one that it brings.

    Raises ConfigError when the directory holds no tokenizer, a broken one, or one that only runs in Python.
    """
    for name in (*TOKENIZER_FILES, "tokenizer_config.json"):
        refuse_pointer(directory / name)
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        raise ConfigError(
            f"{directory} holds no tokenizer ({', '.join(TOKENIZER_FILES[:3])}, ...). Copy the model's tokenizer files "
            "there, name another directory with tokenizer=, or pass token ids with skip_tokenizer_init=True."
        )
    with _IMPORTING, _without_advice():  # here: it takes over a second, which the engine's compilation can hide
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer = _read(AutoTokenizer, directory)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ConfigError(
            f"The tokenizer in {directory} ({type(tokenizer).__name__}) has no tokenizer.json form; "
            "convert it with transformers' save_pretrained() first."
        )
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


def _read(auto: Any, directory: Path) -> Any:
    """What transformers' AutoTokenizer makes of the files, or we do. Raises ConfigError."""
    try:
        return convert_tokenizer(directory) or auto.from_pretrained(
            directory,
            config=_kind_of_model(directory),
            local_files_only=True,
            trust_remote_code=False,
            mistral_format=False,
        )
    except ConfigError:
        raise
    except Exception as error:  # the Rust parser of tokenizer.json raises bare Exception
        raise ConfigError(
            f"The tokenizer in {directory} cannot be loaded ({type(error).__name__}: {_one_line(error)}); "
            "fetch its files again."
        ) from error


def _kind_of_model(directory: Path) -> PreTrainedConfig | None:
    """What transformers needs of config.json to choose a class: it refuses whole files for values it does not know."""
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    if not (directory / CONFIG).is_file():
        return None
    found = read_json(directory / CONFIG)
    kind = found.get("model_type")
    config = CONFIG_MAPPING[kind]() if isinstance(kind, str) and kind in CONFIG_MAPPING else PreTrainedConfig()
    config.tokenizer_class = found.get("tokenizer_class")
    return config


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= LETTERS_SHOWN else f"{text[:LETTERS_SHOWN]}..."


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep transformers from saying on import that PyTorch was not found: nothing here needs it."""
    logger = logging.getLogger("transformers")

    def says_something_else(record: logging.LogRecord) -> bool:
        return "PyTorch was not found" not in record.getMessage()

    logger.addFilter(says_something_else)
    try:
        yield
    finally:
        logger.removeFilter(says_something_else)


def check_vocabulary(tokenizer: PreTrainedTokenizerFast, vocab_size: int) -> None:
    """Refuse a tokenizer that belongs to another model: its vocabulary is larger than the model's logits.

    Added tokens may lie beyond the logits (Gemma 3's image token does): a prompt that spells one is refused by itself.
    """
    size = tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    if size > vocab_size:
        raise ConfigError(
            f"The tokenizer has {size} tokens but the model only {vocab_size} logits: they do not belong together. "
            "Point tokenizer= at the model's own tokenizer."
        )
