"""Slow grammars compute where others leave them time, and hold nothing meanwhile that others wait for."""

from __future__ import annotations

import threading

import pytest

from jaxpaged.params.structured import GrammarCost, StructuredOutputsParams
from jaxpaged.structured import compiler as compiling
from jaxpaged.structured.compiler import GrammarCompiler
from tests.structured.grammars import vocabulary


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_the_text_of_a_grammar_is_made_in_a_thread_that_does_not_give_way(seconds, monkeypatch) -> None:
    """Making it holds the interpreter's lock, for which the engine waits."""
    threads: dict[str, str] = {}

    def note(name):
        made = getattr(compiling, name)

        def noting(*arguments, **keywords):
            threads[name] = threading.current_thread().name
            return made(*arguments, **keywords)

        monkeypatch.setattr(compiling, name, noting)

    note("grammar_of")
    note("LLMatcher")
    params = StructuredOutputsParams(regex="[ab]c{3}")
    params._cost = GrammarCost(seconds=seconds)
    compiler = GrammarCompiler(vocabulary())
    assert compiler.submit(params).result(30).mask.words.any()
    compiler.close()
    assert threads["grammar_of"].startswith("grammar_")
    assert threads["LLMatcher"].startswith("slow-grammar_" if seconds else "grammar_")
