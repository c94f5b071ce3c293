"""A request's tokens and log probabilities are the same bits whatever surrounds it (invariant 2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import EngineRequest
from tests.engine.drive import Answer, Answers, ask, assert_idle, collect, preemptions, rescheduled, run
from tests.engine.tiny import VOCAB
from tests.names import name_of

SHARED = [(5 * i + 1) % VOCAB for i in range(40)]


@cache
def cases() -> tuple[tuple[str, tuple[int, ...], tuple[tuple[str, Any], ...]], ...]:
    """(id, prompt, parameters): greedy, seeded, penalised and scored requests; three share two pages and more."""
    rng = np.random.default_rng(0)

    def prompt(length: int) -> tuple[int, ...]:
        return tuple(rng.integers(0, VOCAB, length).tolist())

    params: list[dict[str, Any]] = [
        {"logprobs": 3},
        {"temperature": 1.0, "seed": 1, "logprobs": 3},
        {"prompt_logprobs": 2, "logprobs": 0},
        {"temperature": 0.7, "seed": 2, "top_p": 0.8, "top_k": 40},
        {"temperature": 1.5, "seed": 3, "repetition_penalty": 1.3, "frequency_penalty": 0.5, "logprobs": 1},
        {"temperature": 1.0, "seed": 4, "min_p": 0.1, "prompt_logprobs": 0},
        {},
        {"presence_penalty": 1.5, "logprobs": 5},
        {"temperature": 0.9, "seed": 5, "logit_bias": {3: 4.0}, "logprobs": 2},
    ]
    prompts = [(3,), tuple(SHARED[:33]), prompt(50), tuple(SHARED), prompt(17), prompt(35), prompt(64), prompt(90)]
    prompts.append((*SHARED, 9, 9))
    return tuple((f"r{i}", p, tuple(more.items())) for i, (p, more) in enumerate(zip(prompts, params, strict=True)))


def messages(order: Sequence[int] | None = None) -> list[EngineRequest]:
    made = [ask(name, prompt, max_tokens=24, **dict(params)) for name, prompt, params in cases()]
    return [made[i] for i in order] if order is not None else made


@pytest.fixture(scope="module")
def alone(engine: Engine) -> Answers:
    """Each request on its own, without a cached prefix, one plan in flight."""
    one_by_one = rescheduled(engine, caching=False, depth=1)
    answers: Answers = {}
    for message in messages():
        answers |= run(one_by_one, [message])
    return answers


def assert_same(got: Answers, want: Answers) -> None:
    for name, answer in got.items():
        assert answer.content == want[name].content, name


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_with_mates(engine: Engine, alone: Answers, depth: int) -> None:
    assert_same(run(rescheduled(engine, caching=False, depth=depth), messages()), alone)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_in_another_order(engine: Engine, alone: Answers, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(cases())).tolist()
    assert_same(run(rescheduled(engine, caching=False), messages(order)), alone)


@pytest.mark.parametrize("chunk", [8, 11, 16, 40])
def test_in_other_chunks(engine: Engine, alone: Answers, chunk: int) -> None:
    assert_same(
        run(rescheduled(engine, caching=False, max_num_seqs=8, max_num_batched_tokens=chunk), messages()), alone
    )


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_with_preemption(engine: Engine, alone: Answers, depth: int) -> None:
    tight = rescheduled(engine, pages=16, caching=False, depth=depth)
    assert_same(run(tight, messages()), alone)
    assert preemptions(tight) > 0


@pytest.mark.parametrize("depth", [1, 2])
def test_with_preemption_and_prefix_hits(engine: Engine, alone: Answers, depth: int) -> None:
    tight = rescheduled(engine, pages=16, depth=depth)
    for _ in range(2):
        assert_same(run(tight, messages()), alone)
    assert preemptions(tight) > 0
    assert tight.stats().prefix_cache_hits > 0


def test_with_prefix_hits(engine: Engine, alone: Answers) -> None:
    caching = rescheduled(engine)
    run(caching, messages())
    again = run(caching, messages())
    assert_same(again, alone)
    cached = {name: answer.last.num_cached_tokens for name, answer in again.items() if answer.last}
    assert cached["r3"] == 32
    assert cached["r8"] == 32
    assert cached["r2"] == cached["r5"] == 0  # prompts to be scored are computed anew


def test_who_will_not_read_the_cache_computes_everything(engine: Engine, alone: Answers) -> None:
    caching = rescheduled(engine)
    run(caching, messages())
    name, prompt, params = cases()[3]
    answer = run(caching, [ask(name, prompt, max_tokens=24, skip_reading_prefix_cache=True, **dict(params))])[name]
    assert answer.last is not None
    assert answer.last.num_cached_tokens == 0
    assert answer.content == alone[name].content


def test_a_prefix_of_mates_that_differ_after_it(engine: Engine, alone: Answers) -> None:
    caching = rescheduled(engine)
    run(caching, [ask("other", [*SHARED[:35], 77, 78], max_tokens=30, temperature=1.0, seed=8)])
    assert_same(run(caching, messages()), alone)
    assert caching.stats().prefix_cache_hits > 0


def test_arriving_while_others_decode(engine: Engine, alone: Answers) -> None:
    busy = rescheduled(engine, caching=False)
    late = messages()
    answers = {}

    def feed(step: int) -> None:
        if step % 5 == 4 and late:
            busy.add(late.pop())

    mates = [ask(f"mate{i}", [i + 1] * 20, max_tokens=60, temperature=1.0) for i in range(3)]
    from_start = run_with(busy, mates, messages(), feed)
    answers = {name: answer for name, answer in from_start.items() if not name.startswith("mate")}
    assert_same(answers, alone)


def run_with(engine: Engine, now: list[EngineRequest], later: list[EngineRequest], feed: Any) -> Answers:
    for message in now:
        engine.add(message)
    answers = {name_of(message.request_id): Answer() for message in [*now, *later]}
    collect(engine, answers, feed)
    assert_idle(engine)
    return answers


@pytest.mark.parametrize("mates", [0, 3, 7])
def test_seeded_sampling_whatever_else_is_in_the_batch(engine: Engine, mates: int) -> None:
    request = ask("seeded", [4, 5, 6], temperature=1.0, seed=42, max_tokens=40)
    others = [
        ask(f"m{i}", [i] * (5 + 9 * i), temperature=1.0, logprobs=i % 3 or None, max_tokens=30) for i in range(mates)
    ]
    want = run(rescheduled(engine), [request])["seeded"].tokens
    assert run(rescheduled(engine), [*others, request])["seeded"].tokens == want


def test_unseeded_requests_differ(engine: Engine) -> None:
    made = run(rescheduled(engine), [ask(f"u{i}", [4, 5, 6], temperature=1.0, max_tokens=20) for i in range(8)])
    assert len({tuple(answer.tokens) for answer in made.values()}) == 8
