"""Grammars are compiled in threads of their own, and the last ones are kept."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from llguidance import LLMatcher

from jaxpaged.params.structured import StructuredOutputsParams
from jaxpaged.structured.constraint import Constraint, Mask
from jaxpaged.structured.grammar import LIMITS, grammar_of, refusal
from jaxpaged.structured.vocabulary import GrammarVocabulary

THREADS = 2
MAX_ENTRIES = 256
MAX_ENTRY_BYTES = 16 * 1024 * 1024  # of grammar text in all; what is compiled from it is bounded by LIMITS
_SILENT = 0


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    """A grammar at its beginning: copy `start` for each sequence; `mask` is what may come first."""

    start: Constraint
    mask: Mask


@dataclass(slots=True)
class GrammarCompiler:
    """Owner of the threads that compile and of a bounded LRU of their results. One thread submits."""

    vocabulary: GrammarVocabulary
    max_entries: int = MAX_ENTRIES
    max_bytes: int = MAX_ENTRY_BYTES
    _entries: OrderedDict[str, Future[CompiledGrammar]] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="grammar"))

    def submit(self, params: StructuredOutputsParams) -> Future[CompiledGrammar]:
        """The compiled grammar, now or later; the future's error is a RequestError."""
        key = repr(params)
        known = self._entries.get(key)
        if known is not None and not (known.done() and known.exception()):
            self._entries.move_to_end(key)
            return known
        future = self._pool.submit(self._compile, params)
        if known is None:
            self._bytes += len(key)
        self._entries[key] = future
        while len(self._entries) > self.max_entries or self._bytes > self.max_bytes:
            dropped, _ = self._entries.popitem(last=False)
            self._bytes -= len(dropped)
        return future

    def __len__(self) -> int:
        return len(self._entries)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _compile(self, params: StructuredOutputsParams) -> CompiledGrammar:
        vocabulary = self.vocabulary
        grammar = grammar_of(params, vocabulary.special)
        matcher = LLMatcher(vocabulary.tokenizer, grammar, log_level=_SILENT, limits=LIMITS)
        if matcher.is_error():
            raise refusal(params, matcher.get_error())
        start = Constraint(matcher, vocabulary.tokenizer)
        mask = start.advance(())
        if mask.error or mask.complete:
            raise refusal(params, matcher.get_error())
        return CompiledGrammar(start, mask)
