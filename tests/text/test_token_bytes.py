"""Each token has bytes of its own, parts of a character too."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from jaxpaged.hub.model_directory import BUNDLED_MODEL
from jaxpaged.text.vocabulary import Vocabulary
from tests.text.samples import END, byte_fallback_backend, byte_level_backend

BUNDLED = Tokenizer.from_file(str(BUNDLED_MODEL / "tokenizer.json"))
BACKENDS = {"byte_level": byte_level_backend(), "pieces": byte_fallback_backend(), "bundled": BUNDLED}
TEXT = "hello 你好 é🙂 world!"


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_they_join_to_the_text(backend: Tokenizer) -> None:
    vocabulary = Vocabulary(backend)
    joined = b"".join(map(vocabulary.token_bytes, backend.encode(TEXT, add_special_tokens=False).ids))
    assert joined.decode().strip() == TEXT


@pytest.mark.parametrize("name", ["byte_level", "pieces"])
def test_parts_of_a_character_differ(name: str) -> None:
    backend = BACKENDS[name]
    vocabulary = Vocabulary(backend)
    ids = backend.encode("𝄞", add_special_tokens=False).ids[-4:]
    assert [vocabulary.token_bytes(token) for token in ids] == [bytes([byte]) for byte in "𝄞".encode()]


def test_special_tokens_and_ids_without_a_token() -> None:
    vocabulary = Vocabulary(byte_level_backend())
    assert vocabulary.token_bytes(byte_level_backend().token_to_id(END)) == END.encode()
    assert vocabulary.token_bytes(511) == b""
