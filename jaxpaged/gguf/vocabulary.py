"""The vocabulary as a GGUF file lists it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from jaxpaged.errors import ConfigError
from jaxpaged.gguf.metadata import Metadata

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_PADDING = re.compile(r"\[PAD[0-9]+\]")
OTHER_TOKENIZER = "name a directory with the model's tokenizer.json by tokenizer="


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """tokens, their kinds (NORMAL, CONTROL, ...) and scores by id; merges as the file lists them, None without."""

    metadata: Metadata
    tokens: list[str]
    kinds: list[int]
    scores: list[float] | None
    merges: list[str] | None

    @property
    def ids(self) -> dict[str, int]:
        """Without the fillers that stand for rows of the logits without a token."""
        pairs = enumerate(zip(self.tokens, self.kinds, strict=True))
        return {token: id for id, (token, kind) in pairs if kind != UNUSED or not _PADDING.fullmatch(token)}

    def of_kind(self, kind: int) -> list[str]:
        return [token for token, each in zip(self.tokens, self.kinds, strict=True) if each == kind]

    def special(self, name: str) -> str | None:
        """The token of tokenizer.ggml.<name>_token_id."""
        id = self.value(f"{name}_token_id")
        return self.tokens[id] if isinstance(id, int) and 0 <= id < len(self.tokens) else None

    def value(self, key: str, default: Any = None) -> Any:
        return self.metadata.all.get(f"tokenizer.ggml.{key}", default)

    def refusal(self, problem: str) -> ConfigError:
        return ConfigError(f"The tokenizer in {self.metadata.file} {problem}; {OTHER_TOKENIZER}.")


def read_vocabulary(metadata: Metadata) -> Vocabulary:
    """Raises ConfigError for a file without a vocabulary, or with lists that do not go together."""

    def listed(key: str, kind: type) -> Any:
        value = metadata.all.get(f"tokenizer.ggml.{key}")
        if value is not None and not (isinstance(value, list) and all(isinstance(each, kind) for each in value)):
            raise ConfigError(f"{metadata.file} has a broken list tokenizer.ggml.{key}; fetch the file again.")
        return value

    tokens = listed("tokens", str)
    if not tokens:
        raise ConfigError(f"{metadata.file} holds no vocabulary; {OTHER_TOKENIZER}.")
    kinds, scores = listed("token_type", int) or [NORMAL] * len(tokens), listed("scores", float)
    if (
        len(kinds) != len(tokens)
        or (scores is not None and len(scores) != len(tokens))
        or len(set(tokens)) != len(tokens)
    ):
        raise ConfigError(f"{metadata.file} has a vocabulary whose lists do not go together; fetch the file again.")
    return Vocabulary(metadata, tokens, kinds, scores, listed("merges", str))
