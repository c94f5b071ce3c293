"""Grammars are compiled over the model's tokens in threads of their own, and the last ones are kept."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256

from llguidance import LLMatcher

from jaxpaged.params.structured import StructuredOutputsParams
from jaxpaged.structured.constraint import Constraint, Mask
from jaxpaged.structured.grammar import LIMITS, SILENT, grammar_of, refusal
from jaxpaged.structured.priority import give_way
from jaxpaged.structured.probe import probe
from jaxpaged.structured.vocabulary import GrammarVocabulary

QUICK_THREADS = 2
SLOW_SECONDS = 0.1  # of a trial, beyond which a grammar waits for others of its kind and not for quick ones
SLOW_NICENESS = 10
MAX_ENTRIES = 256
MAX_BYTES = 64 * 1024 * 1024  # of memory for all that is kept
_LEAST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    """A grammar at its beginning: copy `start` for each sequence; `mask` is what may come first."""

    start: Constraint
    mask: Mask


@dataclass(slots=True)
class GrammarCompiler:
    """Owner of the threads that compile and of a bounded LRU of their results. One thread submits.

    `max_bytes` is memory, as the front end's trial has measured it. A grammar that took long there has a thread apart.
    """

    vocabulary: GrammarVocabulary
    max_entries: int = MAX_ENTRIES
    max_bytes: int = MAX_BYTES
    _entries: OrderedDict[bytes, tuple[Future[CompiledGrammar], int]] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _quick: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(QUICK_THREADS, "grammar"))
    _slow: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "slow-grammar", give_way, (SLOW_NICENESS,))
    )

    def submit(self, params: StructuredOutputsParams) -> Future[CompiledGrammar]:
        """The compiled grammar, now or later; the future's error is a RequestError."""
        text = repr(params)
        key = sha256(text.encode("utf-8", "surrogatepass")).digest()
        known, size = self._entries.pop(key, (None, 0))
        self._bytes -= size
        if known is None or known.cancelled() or (known.done() and known.exception()):
            slow = params._cost.seconds > SLOW_SECONDS
            known = (
                self._slow.submit(self._compile_slowly, params) if slow else self._quick.submit(self._compile, params)
            )
        self._keep(key, known, max(params._cost.bytes, _LEAST_BYTES + len(text)))
        return known

    def _keep(self, key: bytes, grammar: Future[CompiledGrammar], size: int) -> None:
        self._entries[key] = grammar, size
        self._bytes += size
        while len(self._entries) > self.max_entries or (self._bytes > self.max_bytes and len(self._entries) > 1):
            _, (_, freed) = self._entries.popitem(last=False)
            self._bytes -= freed

    def __len__(self) -> int:
        return len(self._entries)

    def close(self) -> None:
        for pool in (self._quick, self._slow):
            pool.shutdown(wait=False, cancel_futures=True)

    def _compile_slowly(self, params: StructuredOutputsParams) -> CompiledGrammar:
        """As _compile(). What holds the interpreter's lock does not give way: the engine would wait for it as long."""
        return self._compiled(params, self._quick.submit(grammar_of, params, self.vocabulary.special).result())

    def _compile(self, params: StructuredOutputsParams) -> CompiledGrammar:
        return self._compiled(params, grammar_of(params, self.vocabulary.special))

    def _compiled(self, params: StructuredOutputsParams, grammar: str) -> CompiledGrammar:
        vocabulary = self.vocabulary
        matcher = LLMatcher(vocabulary.tokenizer, grammar, log_level=SILENT, limits=LIMITS)
        if matcher.is_error():
            raise refusal(params, matcher.get_error())
        start = Constraint(matcher, vocabulary.tokenizer)
        mask = start.advance(())
        if mask.error or mask.complete:
            raise refusal(params, matcher.get_error())
        broken = probe(matcher, vocabulary.tokenizer.eos_tokens)
        if broken is not None:
            raise refusal(params, broken)
        return CompiledGrammar(start, mask)
