"""Walking through a grammar with the tokens of a text."""

from __future__ import annotations

from functools import cache

from jaxpaged.params.structured import StructuredOutputsParams
from jaxpaged.structured.compiler import CompiledGrammar, GrammarCompiler
from jaxpaged.structured.constraint import Mask
from jaxpaged.structured.vocabulary import GrammarVocabulary
from tests.text.samples import byte_level_backend


@cache
def vocabulary() -> GrammarVocabulary:
    backend = byte_level_backend()
    return GrammarVocabulary.from_json(backend.to_str(), backend.get_vocab_size() + 5)


@cache
def compiler() -> GrammarCompiler:
    return GrammarCompiler(vocabulary())


def compiled(**fields) -> CompiledGrammar:
    return compiler().submit(StructuredOutputsParams(**fields)).result(30)


def may_follow(mask: Mask, token: int) -> bool:
    return bool(int(mask.words[token // 32]) >> (token % 32) & 1)


def accepts(text: str, **fields) -> bool:
    """Whether the grammar lets all tokens of `text` be said, and the answer end then."""
    grammar = compiled(**fields)
    constraint, mask = grammar.start.copy(), grammar.mask
    for token in byte_level_backend().encode(text, add_special_tokens=False).ids:
        if not may_follow(mask, token):
            return False
        mask = constraint.advance([token])
    return mask.accepting
