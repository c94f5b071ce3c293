"""Tokenizers that are written as a list of byte strings in the order of their merges: tiktoken's files and tekken.json.

transformers builds them; but its way to read tiktoken's files keeps copies by path, and gives a former file of a path.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from jaxpaged.errors import ConfigError
from jaxpaged.hub.model_directory import read_json

TEKKEN_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def read_tekken(path: Path) -> tuple[Tokenizer, Mapping[str, str]]:
    """The tokenizer of a tekken.json, and what its named tokens are. Raises ConfigError for a broken file."""
    from transformers.integrations.mistral.tokenizer import MistralConverter

    read_json(path)  # for its words about a file that is no JSON
    try:
        backend = MistralConverter(str(path)).converted()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is no tokenizer of tekken's ({error!r}); fetch the file again.") from error
    return backend, {name: token for name, token in TEKKEN_NAMES.items() if backend.token_to_id(token) is not None}


def read_tiktoken(path: Path, added: Any) -> Tokenizer | None:
    """The tokenizer of a list in tiktoken's form, with Llama 3's way to split words; None where it is no such list.

    added: `added_tokens_decoder` of tokenizer_config.json, id to token.
    """
    from transformers.convert_slow_tokenizer import TikTokenConverter

    ranks = _ranks(path)
    if not ranks:
        return None

    class Converter(TikTokenConverter):
        @staticmethod
        def load_tiktoken_bpe(tiktoken_url: str) -> dict[bytes, int]:
            return ranks

    extra = _behind(len(ranks), added)
    backend: Tokenizer = Converter(vocab_file=str(path), extra_special_tokens=extra).converted()
    return backend


def _ranks(path: Path) -> dict[bytes, int]:
    """Empty for a file of another kind."""
    ranks: dict[bytes, int] = {}
    with path.open("rb") as file:
        for line in file:
            token, _, rank = line.strip().partition(b" ")
            try:
                ranks[base64.b64decode(token, validate=True)] = int(rank)
            except (binascii.Error, ValueError):
                return {}
    return ranks if sorted(ranks.values()) == list(range(len(ranks))) else {}


def _behind(count: int, added: Any) -> list[str]:
    """The tokens with ids from `count` on; ids that no token has are filled."""
    tokens = {int(token): entry for token, entry in added.items()} if isinstance(added, Mapping) else {}
    spellings = {
        token: entry.get("content") if isinstance(entry, Mapping) else str(entry) for token, entry in tokens.items()
    }
    return [
        spellings.get(token) or f"<|reserved_token_{token}|>" for token in range(count, max(spellings, default=0) + 1)
    ]
