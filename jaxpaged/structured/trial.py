"""Trying a grammar: whether it can be used, and what it costs."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from dataclasses import dataclass

from llguidance import LLMatcher, LLTokenizer

from jaxpaged.errors import RequestError
from jaxpaged.params.structured import GrammarCost, StructuredOutputsParams
from jaxpaged.structured.grammar import LIMITS, SILENT, grammar_of, refusal
from jaxpaged.structured.probe import allowed_bits, probe

MAX_GRAMMAR_BYTES = 64 * 1024 * 1024  # of one compiled grammar
BYTES_PER_CHARACTER = 400  # of memory, where it cannot be measured: the most that schemas were seen to take


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it: `refused` says why the grammar cannot be used."""

    cost: GrammarCost
    refused: str | None = None


def try_grammar(params: StructuredOutputsParams, tokenizer: LLTokenizer, special: Mapping[str, int]) -> Trial:
    """Compile a grammar, look at its first token and take a few steps. Nothing else may allocate meanwhile."""
    began, before = time.process_time(), allocated_bytes()
    refused, text = None, ""
    try:
        text = grammar_of(params, special)
        matcher = _first_token(params, text, tokenizer)
    except RequestError as error:
        refused = str(error)
    after = allocated_bytes()
    memory = BYTES_PER_CHARACTER * len(text) if before is None or after is None else max(0, after - before)
    if memory > MAX_GRAMMAR_BYTES:
        refused = str(refusal(params, "it takes too much memory; make it simpler"))
    if refused is None:
        broken = probe(matcher, tokenizer.eos_tokens)
        refused = broken and str(refusal(params, broken))
    return Trial(GrammarCost(time.process_time() - began, memory), refused)


def _first_token(params: StructuredOutputsParams, text: str, tokenizer: LLTokenizer) -> LLMatcher:
    matcher = LLMatcher(tokenizer, text, log_level=SILENT, limits=LIMITS)
    if not matcher.is_error() and allowed_bits(matcher, tokenizer.eos_tokens):
        return matcher
    raise refusal(params, matcher.get_error())


class _AllocatorReport(ctypes.Structure):
    """What glibc's mallinfo2() returns."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    )


def allocated_bytes() -> int | None:
    """What this process has taken from malloc and not given back; None where the C library cannot say."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return None
    library.mallinfo2.restype = _AllocatorReport
    report = library.mallinfo2()
    return int(report.uordblks + report.hblkhd)
