"""Thoughts with a budget on a real engine: the token that is one too many is the first of the mark that ends them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import ChildSample, EngineRequest
from jaxpaged.params.structured import StructuredOutputsParams
from jaxpaged.params.thinking import ThinkingLimit
from jaxpaged.params.thought import Thought
from tests.engine.drive import ask, preemptions, rescheduled, run
from tests.names import number
from tests.structured import engines
from tests.structured.engines import text_of
from tests.text.samples import byte_level_backend

END = (7, 8, 9)
PROMPT = [3, 1, 4, 1, 5]


def limited(
    name: str, budget: int, begun: int | None = 0, prompt: list[int] = PROMPT, **params: object
) -> EngineRequest:
    limit = ThinkingLimit(budget, begins=((2, 6),), forced=(END,), ends=(END,), begun=begun)
    return replace(ask(name, prompt, **{"max_tokens": 20, **params}), thinking=limit)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_thought_ends_at_its_budget(built: Engine, depth: int) -> None:
    """Beside a mate whose tokens stay the same; what comes after is what the model says of all before."""
    mate, budgets = ask("mate", [9, 9, 2], max_tokens=16), (0, 1, 2, 5)
    plain = run(rescheduled(built), [ask("plain", PROMPT, max_tokens=20), mate])
    answers = run(rescheduled(built, depth=depth), [mate, *(limited(f"b{budget}", budget) for budget in budgets)])
    assert answers["mate"].content == plain["mate"].content
    said = {budget: answers[f"b{budget}"].tokens for budget in budgets}
    for budget, tokens in said.items():
        assert tokens[: budget + 3] == [*plain["plain"].tokens[:budget], *END]
    again = [ask(f"b{b}", [*PROMPT, *tokens[: b + 3]], max_tokens=17 - b) for b, tokens in said.items()]
    rest = run(rescheduled(built), again)
    assert {b: rest[f"b{b}"].tokens for b in budgets} == {b: tokens[b + 3 :] for b, tokens in said.items()}


def test_where_no_thought_is_open_nothing_changes(built: Engine) -> None:
    plain = run(rescheduled(built), [ask("plain", PROMPT, max_tokens=20)])
    assert run(rescheduled(built), [limited("a", 0, None)])["a"].tokens == plain["plain"].tokens


def test_preempted_rows_keep_their_count(built: Engine) -> None:
    """Too few pages for all: each ends its thought where it does alone."""
    prompts = [[i, 3, i, 4] for i in range(1, 9)]
    alone = run(rescheduled(built), [limited(f"r{i}", 30, 2, p, max_tokens=60) for i, p in enumerate(prompts)])
    tight = rescheduled(built, pages=20)
    crowded = run(tight, [limited(f"r{i}", 30, 2, p, max_tokens=60) for i, p in enumerate(prompts)])
    assert preemptions(tight) > 0
    assert all(answer.tokens[28:31] == list(END) for answer in alone.values())
    assert {name: answer.tokens for name, answer in crowded.items()} == {n: a.tokens for n, a in alone.items()}


def test_each_sample_has_its_own_count(built: Engine) -> None:
    first = limited("n0", 6, temperature=1.0, seed=1)
    children = tuple(ChildSample(number(f"n{i}"), replace(first.params, seed=1 + i)) for i in (1, 2))
    other = rescheduled(built)
    other.add(replace(first, children=children))
    tokens: dict[int, list[int]] = {}
    while other.has_work():
        for output in other.step():
            tokens.setdefault(output.request_id, []).extend(output.new_token_ids)
    assert len(tokens) == 3
    assert all(one[6:9] == list(END) for one in tokens.values())
    assert len({tuple(one[:6]) for one in tokens.values()}) == 3


def test_far_from_its_limit_a_row_is_planned_ahead(built: Engine) -> None:
    """As many steps submitted before their predecessor is known as without a limit, but for the first and last few."""
    other = rescheduled(built)
    other.add(limited("a", 40, max_tokens=60))
    ahead = []
    while other.has_work():
        other.step()
        ahead.append(len(other._in_flight))
    assert sum(ahead) >= 38


def test_a_form_goes_on_behind_the_mark_that_is_forced(engine: Engine) -> None:
    """The thought is part of the grammar; where a grammar has none, it forbids the mark and nothing is forced."""
    end = tuple(byte_level_backend().encode("</a>").ids)
    limit = ThinkingLimit(4, begins=((2, 6),), forced=(end,), ends=(end,), begun=0)
    form = StructuredOutputsParams(regex="[0-9]{3}", thought=Thought(("<a>",), ("</a>",), opened=True))
    thinker = engines.ask("thinker", structured_outputs=form, max_tokens=40)
    strict = engines.ask("strict", structured_outputs={"regex": "[0-9]{9}"}, max_tokens=40)
    answers = run(engine, [replace(one, thinking=limit) for one in (thinker, strict)])
    tokens = answers["thinker"].tokens
    assert tuple(tokens[4 : 4 + len(end)]) == end
    assert re.fullmatch(r"\s{0,4}[0-9]{3}", text_of(tokens[4 + len(end) :]))
    assert re.fullmatch("[0-9]{9}", text_of(answers["strict"].tokens))
