"""n > 1: the prompt is computed once, and each sample answers as a request of its own with the same seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import ChildSample, EngineRequest
from jaxpaged.errors import RequestError
from tests.engine import tiny
from tests.engine.drive import Answer, Answers, ask, assert_idle, collect, preemptions, rescheduled, run
from tests.engine.tiny import VOCAB
from tests.names import name_of, number

TEN = [(7 * i + 3) % VOCAB for i in range(10)]
PARAMS: list[dict[str, Any]] = [
    {},
    {"top_p": 0.8, "top_k": 40, "logprobs": 2},
    {"repetition_penalty": 1.3, "presence_penalty": 0.7},
]


def separate(prompt: list[int], n: int, **params: Any) -> list[EngineRequest]:
    """Independent requests with the seeds of n samples."""
    return [ask(str(i), prompt, temperature=1.0, seed=40 + i, **params) for i in range(n)]


def together(messages: list[EngineRequest]) -> EngineRequest:
    """The same as samples of one request."""
    children = tuple(ChildSample(message.request_id, message.params) for message in messages[1:])
    return replace(messages[0], children=children)


def run_samples(engine: Engine, messages: list[EngineRequest]) -> Answers:
    engine.add(together(messages))
    answers = {name_of(message.request_id): Answer() for message in messages}
    collect(engine, answers)
    assert_idle(engine)
    return answers


def same(got: Answers, want: Answers) -> bool:
    return {name: answer.content for name, answer in got.items()} == {
        name: answer.content for name, answer in want.items()
    }


@pytest.mark.parametrize("depth", [1, 2])
def test_ten_tokens_of_six_samples_are_computed_once_into_one_page(engine: Engine, depth: int) -> None:
    view = rescheduled(engine, depth=depth, caching=False)
    messages = separate(TEN, 6, max_tokens=12)
    view.add(together(messages))
    (shard,) = view.scheduler.shards
    plan = view.scheduler.schedule()
    assert plan is not None
    assert [int(part.counts.sum()) for part in plan.shards] == [10]
    assert shard.num_running == 6
    assert shard.allocators[0].num_held == 1
    view._submit(plan)
    answers = {name_of(message.request_id): Answer() for message in messages}
    collect(view, answers)
    assert_idle(view)
    assert same(answers, run(rescheduled(engine, caching=False), messages))


@pytest.mark.parametrize(
    ("length", "params"),
    [*((length, PARAMS[0]) for length in (1, 15, 16, 17, 70)), *((17, params) for params in PARAMS[1:])],
)
def test_samples_are_independent_requests_with_the_same_seeds(
    engine: Engine, length: int, params: dict[str, Any]
) -> None:
    prompt = [(11 * i + 5) % VOCAB for i in range(length)]
    messages = separate(prompt, 5, max_tokens=20, **params)
    want = run(rescheduled(engine, caching=False), messages)
    assert len({tuple(answer.tokens) for answer in want.values()}) == 5
    compiles = engine.compiles()
    for caching in (True, False):
        assert same(run_samples(rescheduled(engine, caching=caching), messages), want)
    assert engine.compiles() == compiles


def test_only_the_first_sample_scores_the_prompt(engine: Engine) -> None:
    messages = separate(TEN, 3, max_tokens=4)
    messages[0].params.prompt_logprobs = 1
    got = run_samples(rescheduled(engine), messages)
    assert [len(answer.prompt_logprobs) for answer in got.values()] == [9, 0, 0]
    assert same(got, run(rescheduled(engine, caching=False), messages))


def test_in_a_pool_too_small_for_all_samples_they_take_turns(engine: Engine) -> None:
    messages = separate(TEN, 8, max_tokens=60)
    tight = rescheduled(engine, pages=12, caching=False)
    got = run_samples(tight, messages)
    assert preemptions(tight) > 0
    assert same(got, run(rescheduled(engine), messages))


def test_a_sample_that_can_never_fit_is_refused_with_the_numbers(engine: Engine) -> None:
    tight = rescheduled(engine, pages=4)
    with pytest.raises(RequestError, match="need 5 KV pages of 16 tokens, and the pool has 3"):
        tight.add(together(separate(TEN, 8, max_tokens=60)))
    assert_idle(tight)


def four() -> list[EngineRequest]:
    return separate([(3 * i) % VOCAB for i in range(90)], 4, max_tokens=20)


@pytest.fixture(scope="module")
def undisturbed(engine: Engine) -> Answers:
    return run(rescheduled(engine), four())


@pytest.mark.parametrize("victims", [["0"], ["2"], ["0", "1", "2", "3"]])
@pytest.mark.parametrize("after", [0, 1, 2, 3, 9])
def test_an_abort_frees_the_pages_of_its_samples_only(
    engine: Engine, undisturbed: Answers, victims: list[str], after: int
) -> None:
    messages = four()
    view = rescheduled(engine, caching=False)
    view.add(together(messages))
    answers = {name_of(message.request_id): Answer() for message in messages}

    def abort(step: int) -> None:
        if step == after:
            view.abort([number(name) for name in victims])

    collect(view, answers, abort)
    assert_idle(view)
    assert all(answers[name].content == one.content for name, one in undisturbed.items() if name not in victims)
    assert all(answers[name].last is None for name in victims)


def test_a_sample_that_stops_leaves_the_others_alone(engine: Engine) -> None:
    free = run(rescheduled(engine), separate(TEN, 4, max_tokens=20))
    stop = free["1"].tokens[2]
    messages = separate(TEN, 4, max_tokens=20, stop_token_ids=[stop])
    got = run_samples(rescheduled(engine), messages)
    assert got["1"].reason == "stop"
    assert len(got["1"].tokens) <= 3
    assert same(got, run(rescheduled(engine, caching=False), messages))


def test_unseeded_samples_differ(engine: Engine) -> None:
    messages = [ask(str(i), TEN, temperature=1.0, max_tokens=12) for i in range(4)]
    got = run_samples(rescheduled(engine), messages)
    assert len({tuple(answer.tokens) for answer in got.values()}) == 4


def test_prompt_embeddings_are_shared_too(embeds_engine: Engine) -> None:
    engine = rescheduled(embeds_engine)
    rng = np.random.default_rng(0)
    embeds = rng.standard_normal((21, tiny.LLAMA["hidden_size"])).astype(np.float32).tobytes()
    messages = separate([0] * 21, 4, max_tokens=8, embeds=embeds, logprobs=0)
    assert same(run_samples(engine, messages), run(rescheduled(engine, caching=False), messages))


def test_on_two_data_shards(two_shards: Engine) -> None:
    engine = rescheduled(two_shards)
    groups = [separate([(k + 5 * i) % VOCAB for i in range(20)], 3, max_tokens=8, logprobs=0) for k in range(2)]
    for k, group in enumerate(groups):
        for message in group:
            message.request_id = number(f"{name_of(message.request_id)}of{k}")
        engine.add(together(group))
    answers = {name_of(message.request_id): Answer() for group in groups for message in group}
    collect(engine, answers)
    assert_idle(engine)
    assert same(answers, run(rescheduled(engine, caching=False), [message for group in groups for message in group]))
