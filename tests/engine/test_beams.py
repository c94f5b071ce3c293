"""Beam searches among other requests: their answers depend on nothing else, and all their pages come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import ChildSample, EngineRequest
from jaxpaged.errors import RequestError
from tests.engine.beams import expected, run_searches, search
from tests.engine.drive import Answer, Answers, ask, assert_idle, collect, preemptions, rescheduled
from tests.engine.tiny import CONTEXT, VOCAB
from tests.names import name_of, number

EOS = (2, 40, 77, 90)


def prompt(length: int, salt: int = 1) -> list[int]:
    return [(11 * salt * i + 5 * salt) % VOCAB for i in range(length)]


def searches(**options: Any) -> list[EngineRequest]:
    """Prompts that end before, at and after a page's end; the second begins like the third."""
    return [
        search(str(index), prompt(length, salt), width, eos=EOS, **{"max_tokens": 30, **options})
        for index, (length, salt, width) in enumerate([(5, 1, 4), (31, 2, 3), (48, 2, 5), (70, 3, 2)])
    ]


def contents(answers: Answers) -> dict[str, Any]:
    return {name: answer.content for name, answer in answers.items()}


@pytest.fixture(scope="module")
def alone(engine: Engine) -> dict[str, Any]:
    """The answers of searches(), each with the engine to itself."""
    found = {}
    for message in searches():
        found |= contents(run_searches(rescheduled(engine, caching=False, depth=1), [message]))
    return found


def test_the_searches_are_telling(alone: dict[str, Any]) -> None:
    lengths = {(len(tokens), reason) for tokens, _, _, reason in alone.values()}
    assert {reason for _, reason in lengths} == {"stop", "length"}
    assert len(lengths) > 4


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("caching", [True, False])
def test_answers_do_not_depend_on_company(engine: Engine, alone: dict[str, Any], depth: int, caching: bool) -> None:
    view = rescheduled(engine, depth=depth, caching=caching, max_num_batched_tokens=24)
    compiles = engine.compiles()
    others = [ask(f"other{i}", prompt(9 + 13 * i, 4 + i), max_tokens=25, temperature=0.9, seed=i) for i in range(5)]
    for message in others:
        view.add(message)
    answers = expected([*searches(), *others])
    waiting = searches()

    def arrive(step: int) -> None:
        if step % 3 == 1 and waiting:
            view.add(waiting.pop())

    collect(view, answers, arrive)
    assert_idle(view)
    got = contents(answers)
    assert {name: got[name] for name in alone} == alone
    assert {name: got[name] for name in got if name.startswith("other")} == contents(
        run_searches(rescheduled(engine), others)
    )
    assert engine.compiles() == compiles


@pytest.mark.parametrize(("pages", "caching"), [(14, True), (14, False), (15, True), (17, False), (20, True)])
def test_in_a_tight_pool_groups_are_preempted_as_one(
    engine: Engine, alone: dict[str, Any], pages: int, caching: bool
) -> None:
    tight = rescheduled(engine, pages=pages, caching=caching)
    assert contents(run_searches(tight, searches())) == alone
    assert preemptions(tight) > 0


def test_the_prompt_is_computed_once_and_its_pages_are_shared(engine: Engine) -> None:
    view = rescheduled(engine, caching=False)
    (shard,) = view.scheduler.shards
    message = search("a", prompt(48), 4, max_tokens=3)
    view.add(message)
    computed, held = [], []
    while view.has_work():
        plan = view.scheduler.schedule()
        if plan is not None:
            computed.append(int(plan.shards[0].counts.sum()))
            held.append(shard.allocators[0].num_held)
            view._submit(plan)
        view._collect()
        view.scheduler.check()
    assert computed == [48, 4, 4]
    assert held == [3, 7, 7]  # then each beam writes to a page of its own, if they do not have the same parent
    assert_idle(view)


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 9])
@pytest.mark.parametrize("victim", ["1.0", "1.2"])
def test_an_abort_ends_the_whole_search_and_frees_all(
    engine: Engine, alone: dict[str, Any], after: int, victim: str
) -> None:
    view = rescheduled(engine, pages=24)
    answers = expected(searches())
    for message in searches():
        view.add(message)
    collect(view, answers, lambda step: view.abort([number(victim)]) if step == after else None)
    assert_idle(view)
    assert not view._requests
    assert len(view._beams) == 0
    assert all((answer.last is None) == name.startswith("1.") for name, answer in answers.items())
    assert all(answers[name].content == alone[name] for name in alone if not name.startswith("1."))


def test_what_can_never_run_is_refused_with_the_numbers(engine: Engine) -> None:
    tight = rescheduled(engine, pages=10)
    for message, says in (
        (search("a", prompt(20), 4, max_tokens=40), "4 beams .* 40 need 13 KV pages of 16 tokens, and the pool has 9"),
        (search("a", prompt(20), 17, max_tokens=2), "max_logprobs|logprobs"),
        (search("a", prompt(20), VOCAB - 3, max_tokens=2, eos=EOS), "only 127 tokens of the vocabulary end no answer"),
    ):
        with pytest.raises(RequestError, match=says):
            tight.add(message)
        assert_idle(tight)
        assert not tight._requests
    narrow = rescheduled(engine, max_num_seqs=4)
    with pytest.raises(RequestError, match="beam_width is 5, and 4 sequences run at once"):
        narrow.add(search("a", prompt(20), 5))
    assert contents(run_searches(narrow, [search("a", prompt(20), 4)]))


def test_a_pool_that_just_fits_one_search_serves_several(engine: Engine) -> None:
    """Of 40 + 40 tokens, the last of which is not computed: 2 pages are shared, 3 are each beam's own."""
    wide = [search(str(i), prompt(40, i + 1), 4, max_tokens=40) for i in range(3)]
    with pytest.raises(RequestError, match="need 14 KV pages of 16 tokens, and the pool has 13"):
        rescheduled(engine, pages=14).add(wide[0])
    got = contents(run_searches(rescheduled(engine, pages=15, caching=False), wide))
    assert got == contents(run_searches(rescheduled(engine), wide))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_searches_whose_prompts_need_several_steps_share_all_later_ones(engine: Engine, depth: int) -> None:
    view = rescheduled(engine, depth=depth, max_num_batched_tokens=24)
    run_searches(view, [search(str(i), prompt(20, i + 1), 3, max_tokens=16) for i in range(3)])
    assert view.scheduler.stats().num_steps <= 3 + 16  # three steps of prompts, then a step a token


@pytest.mark.parametrize("max_tokens", [1, 2])
def test_short_answers(engine: Engine, max_tokens: int) -> None:
    got = run_searches(rescheduled(engine), [search("a", prompt(16), 6, max_tokens=max_tokens)])
    assert [len(answer.tokens) for answer in got.values()] == [max_tokens] * 6
    assert len({tuple(answer.tokens) for answer in got.values()}) == 6


def test_an_answer_may_reach_the_end_of_the_context(engine: Engine) -> None:
    message = search("a", prompt(CONTEXT - 4), 3, max_tokens=100)
    assert [len(answer.tokens) for answer in run_searches(rescheduled(engine), [message]).values()] == [4] * 3


def test_log_probabilities_come_as_asked_for(engine: Engine) -> None:
    message = search("a", prompt(16), 3, max_tokens=4)
    for params in (message.params, *(child.params for child in message.children)):
        params.logprobs = 2
    for answer in run_searches(rescheduled(engine), [message]).values():
        assert [entry.token_id for entry in answer.logprobs] == answer.tokens
        assert all(len(entry.top_ids) == 2 for entry in answer.logprobs)
        assert all(entry.rank == 1 or entry.token_id != entry.top_ids[0] for entry in answer.logprobs)


def test_on_two_data_shards(two_shards: Engine, alone: dict[str, Any]) -> None:
    compiles = two_shards.compiles()
    assert contents(run_searches(rescheduled(two_shards), searches())) == alone
    tight = rescheduled(two_shards, pages=15, caching=False)
    assert contents(run_searches(tight, searches())) == alone
    assert two_shards.compiles() == compiles


def test_events_and_cached_tokens_are_told_once(engine: Engine) -> None:
    view = rescheduled(engine)
    for _ in range(2):
        got: list[Answer] = list(run_searches(view, [search("a", prompt(40), 3)]).values())
    assert [answer.last.num_cached_tokens for answer in got if answer.last] == [32] * 3
    assert [bool(answer.last.events) for answer in got if answer.last] == [True, False, False]


def test_prompt_embeddings_begin_a_search_as_their_tokens_do(llama: Path, embeds_engine: Engine) -> None:
    engine = rescheduled(embeds_engine)
    table = load_file(llama / "model.safetensors")["model.embed_tokens.weight"]
    given = search("a", [0] * 21, 4, eos=EOS, max_tokens=20)
    given.prompt_embeds = table[prompt(21)].astype(np.float32).tobytes()
    want = contents(run_searches(engine, [search("a", prompt(21), 4, eos=EOS, max_tokens=20)]))
    assert contents(run_searches(rescheduled(engine), [given])) == want
    three = [replace(given, request_id=number(f"{name}.0")) for name in "abc"]
    for message in three:
        name = name_of(message.request_id)[0]
        message.children = tuple(ChildSample(number(f"{name}.{i}"), message.params) for i in range(1, 4))
    tight = rescheduled(engine, pages=11, caching=False)
    got = contents(run_searches(tight, three))
    assert preemptions(tight) > 0
    assert {name: got[name] for name in want} == want
