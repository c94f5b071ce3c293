"""A few steps into a grammar: some can begin and are too complex for the next token."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

from llguidance import LLMatcher

_WALKS, _STEPS = 3, 24
_SECONDS = 0.05
_COMPLEX = ("ParserTooComplex", "LexerTooComplex", "InternalError")


def probe(start: LLMatcher, end_tokens: Iterable[int], seconds: float = _SECONDS) -> str | None:
    """The error of a grammar that breaks on one of a few random walks, which take some `seconds` in all."""
    choose, until = random.Random(0), time.thread_time() + seconds
    for _ in range(_WALKS):
        matcher = start.deep_copy()
        for _ in range(_STEPS):
            allowed = allowed_bits(matcher, end_tokens)
            if not matcher.is_stopped() and allowed and time.thread_time() < until:
                matcher.consume_token(_pick(allowed, choose))
            if matcher.is_error():
                return matcher.get_error() if matcher.stop_reason() in _COMPLEX else None
    return None


def allowed_bits(matcher: LLMatcher, end_tokens: Iterable[int]) -> int:
    """The tokens that may follow, one bit for each, but for those that end a sequence."""
    bits = int.from_bytes(matcher.compute_bitmask(), "little")
    for token in end_tokens:
        bits &= ~(1 << token)
    return bits


def _pick(bits: int, choose: random.Random) -> int:
    """One of the bits that are set: the first at or after a random place."""
    place = choose.randrange(bits.bit_length())
    later = bits >> place
    return place + (later & -later).bit_length() - 1
