"""What ends a structured request early, and only that one: its stop tokens, and grammars that fail in any way."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.grammars import masks
from jaxpaged.structured.compiler import GrammarCompiler
from jaxpaged.structured.constraint import Constraint
from tests.engine.drive import Answer, collect, run
from tests.structured.engines import ask, text_of

A, B, _, D = range(67, 71)  # token ids of these letters


def error_of(answer: Answer) -> str:
    """Why a request was refused after the engine had taken it."""
    assert answer.last is not None
    assert answer.last.refused == "structured_outputs"
    return answer.last.error or ""


def test_stop_tokens_end_an_answer_only_where_its_grammar_does(engine: Engine) -> None:
    a, b = A, B
    answers = run(
        engine,
        [
            ask("whole", structured_outputs={"regex": "[ab]{40}"}, stop_token_ids=[b]),
            ask("early", structured_outputs={"regex": "b[ab]*"}, stop_token_ids=[a], logit_bias={a: 100.0}, logprobs=0),
            ask("first", structured_outputs={"regex": "b?a*"}, stop_token_ids=[b], logit_bias={b: 100.0}, logprobs=0),
            ask("stuck", structured_outputs={"regex": "[ab]{40}"}, stop_token_ids=[a, b]),
        ],
    )
    assert text_of(answers["whole"].tokens) == "a" * 40
    assert [text_of(answers[name].tokens) for name in ("early", "first")] == ["ba", "b"]
    assert answers["early"].last is not None
    assert (answers["early"].reason, answers["early"].last.stop_reason) == ("stop", a)
    assert answers["stuck"].reason == "error"


@pytest.mark.parametrize("failure", [ValueError("no"), MemoryError(), SystemExit(3)])
def test_a_grammar_that_fails_in_any_way_costs_its_own_request(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    real, follow = GrammarCompiler._compile, Constraint.advance

    def compile_or_fail(self: GrammarCompiler, params: Any) -> Any:
        if params.regex == "c{7}":
            raise failure
        return real(self, params)

    def advance_or_fail(self: Constraint, tokens: list[int]) -> Any:
        if list(tokens) == [D]:
            raise failure
        return follow(self, tokens)

    monkeypatch.setattr(GrammarCompiler, "_compile", compile_or_fail)
    monkeypatch.setattr(Constraint, "advance", advance_or_fail)
    kinds = {"lost": "c{7}", "on the way": "d{9}", "mate": "e{9}"}
    answers = run(engine, [ask(name, structured_outputs={"regex": text}) for name, text in kinds.items()])
    assert "could not be compiled" in error_of(answers["lost"])
    assert "could not be followed" in error_of(answers["on the way"])
    assert text_of(answers["mate"].tokens) == "e" * 9


def test_slow_masks_do_not_keep_quick_ones_waiting(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six sequences have masks that are held back for ever; others end meanwhile."""
    follow, go = Constraint.advance, threading.Event()
    monkeypatch.setattr(masks, "SLOW_SECONDS", 0.0)  # every mask but the first of a sequence is a slow one

    def advance(self: Constraint, tokens: list[int]) -> Any:
        if threading.current_thread().name.startswith("slow-mask"):
            go.wait(30)
        return follow(self, tokens)

    monkeypatch.setattr(Constraint, "advance", advance)
    answers = {f"s{index}": Answer() for index in range(6)} | {"quick": Answer()}
    order: list[str] = []

    def note(step: int) -> None:
        order.extend(name for name, answer in answers.items() if answer.last is not None and name not in order)
        if order:
            go.set()

    for index in range(6):
        engine.add(ask(f"s{index}", structured_outputs={"regex": "c{7}"}))
    engine.add(ask("quick", structured_outputs={"regex": "d"}))
    collect(engine, answers, note, limit=100_000)
    assert order[0] == "quick"
    assert all(text_of(answers[f"s{index}"].tokens) == "c" * 7 for index in range(6))
