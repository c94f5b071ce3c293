"""Bytes that tokenizers spell as something else: GPT-2's characters for bytes, and <0xNN> for those without a piece."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tokenizers import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SHOWN = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_HIDDEN = [byte for byte in range(256) if byte not in _SHOWN]
# printable Latin-1 stands for itself, other bytes for the characters from U+0100 on
_BYTE_OF = {chr(byte): byte for byte in _SHOWN} | {chr(256 + place): byte for place, byte in enumerate(_HIDDEN)}


@dataclass(frozen=True, slots=True)
class TokenSpelling:
    """Which of the two a tokenizer has; neither where its tokens are text."""

    byte_level: bool = False
    byte_fallback: bool = False

    @classmethod
    def of(cls, backend: Tokenizer) -> TokenSpelling:
        decoder = b"" if backend.decoder is None else backend.decoder.__getstate__()
        return cls(b'"ByteLevel"' in decoder, b'"ByteFallback"' in decoder)

    def bytes_of(self, token: str | None) -> bytes | None:
        """The bytes of a token as the tokenizer spells it; None where its text says what they are."""
        if token is None:
            return b""
        if self.byte_level and all(character in _BYTE_OF for character in token):
            return bytes(_BYTE_OF[character] for character in token)
        found = _BYTE.fullmatch(token) if self.byte_fallback else None
        return None if found is None else bytes([int(found[1], 16)])
