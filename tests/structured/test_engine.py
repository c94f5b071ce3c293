"""Structured requests inside the engine: mates, preemption, samples, ends, and grammars that are slow or wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import EngineRequest
from jaxpaged.errors import QueueFullError, RequestError
from jaxpaged.sampling.variant import Variant
from jaxpaged.scheduling.plan import StepPlan
from jaxpaged.scheduling.plan_wire import decode_plan, encode_plan
from jaxpaged.structured.compiler import GrammarCompiler
from jaxpaged.structured.constraint import Constraint
from tests.engine.drive import Answer, Answers, assert_idle, collect, preemptions, rescheduled, run
from tests.names import name_of, number
from tests.structured import engines
from tests.structured.engines import END_TOKEN, another, ask, text_of

WORDS = {"regex": "([a-z]{1,8} ){30}"}
DIGITS = {"regex": "[0-9]+"}


def mixed(count: int = 8, **params: Any) -> list[EngineRequest]:
    """Structured and free requests, with and without log probabilities and stages."""
    kinds: list[dict[str, Any]] = [
        {"structured_outputs": WORDS},
        {"structured_outputs": WORDS, "logprobs": 2, "presence_penalty": 0.5},
        {},
        {"structured_outputs": DIGITS, "temperature": 0.0},
    ]
    made = []
    for index in range(count):
        prompt = [3 + (index * 5 + k) % 90 for k in range(4 + 9 * index)]
        made.append(ask(f"r{index}", prompt, seed=index, max_tokens=40, **kinds[index % 4], **params))
    return made


def error_of(answer: Answer, *, refused: str | None = None) -> str:
    """Why a request has failed."""
    assert answer.last is not None
    assert answer.last.refused == refused
    return answer.last.error or ""


@pytest.fixture(scope="module")
def alone(built: Engine) -> Answers:
    """What each of mixed() says when nobody else is there."""
    answers: Answers = {}
    for request in mixed():
        answers |= run(another(built), [request])
    return answers


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_answers_do_not_depend_on_mates_or_plans_in_flight(built: Engine, alone: Answers, depth: int) -> None:
    answers = run(another(built, depth=depth), mixed())
    assert {name: answer.content for name, answer in answers.items()} == {
        name: answer.content for name, answer in alone.items()
    }


@pytest.mark.parametrize("depth", [1, 2])
def test_preemption_changes_nothing(built: Engine, alone: Answers, depth: int) -> None:
    engine = another(built, pages=14, depth=depth, caching=False)
    answers = run(engine, mixed())
    assert preemptions(engine) > 0
    assert {name: answer.content for name, answer in answers.items()} == {
        name: answer.content for name, answer in alone.items()
    }


@contextmanager
def slow_masks(seconds: float) -> Iterator[None]:
    """Masks take so much longer."""
    real = Constraint.advance

    def advance(self: Constraint, tokens: list[int]) -> Any:
        time.sleep(seconds)
        return real(self, tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Constraint, "advance", advance)
        yield


@pytest.mark.parametrize("pages", [None, 14])
def test_slow_masks_delay_their_rows_only(built: Engine, alone: Answers, pages: int | None) -> None:
    """With few pages rows are preempted while their masks are being worked out."""
    engine = another(built, pages=pages, caching=False)
    order: list[str] = []

    def note(step: int) -> None:
        order.extend(name for name, answer in answers.items() if answer.last is not None and name not in order)

    answers = {name_of(request.request_id): Answer() for request in mixed()}
    with slow_masks(0.02):
        for request in mixed():
            engine.add(request)
        collect(engine, answers, note, limit=100_000)
    assert_idle(engine)
    assert {name: answer.content for name, answer in answers.items()} == {
        name: answer.content for name, answer in alone.items()
    }
    if pages is None:
        assert set(order[:2]) == {"r2", "r6"}  # the free ones


def test_samples_of_a_prompt_have_matchers_of_their_own(built: Engine) -> None:
    request = ask("s", range(5, 40), n=4, structured_outputs=WORDS, max_tokens=60)
    engine = another(built)
    answers = {name: Answer() for name in ("s", "s.1", "s.2", "s.3")}
    engine.add(request)
    collect(engine, answers)
    assert_idle(engine)
    assert len({tuple(answer.tokens) for answer in answers.values()}) == 4
    single = run(another(built), [ask("x", range(5, 40), seed=3, structured_outputs=WORDS, max_tokens=60)])
    assert answers["s.2"].tokens == single["x"].tokens


def test_the_end_comes_where_the_grammar_allows_it(engine: Engine) -> None:
    digits = {"regex": "[0-9]{1,6}"}
    ends = {"seed": 5, "structured_outputs": digits}
    answers = run(
        engine,
        [
            *(ask(f"free{seed}", seed=seed, structured_outputs=digits) for seed in range(6)),
            ask("ignore", **ends, ignore_eos=True),
            ask("least", **ends, min_tokens=4, logprobs=0),
            ask("whole", structured_outputs={"regex": "ab"}, min_tokens=50, logprobs=0),
            ask("long", structured_outputs={"regex": "a*b"}, logit_bias={67: 100.0}, logprobs=0, max_tokens=9),
        ],
    )
    for seed in range(6):
        free = answers[f"free{seed}"]
        assert free.reason == "stop"
        assert free.tokens[-1] == END_TOKEN or len(text_of(free.tokens)) == 6
    assert len(text_of(answers["ignore"].tokens)) == 6
    assert END_TOKEN not in answers["ignore"].tokens
    assert len(answers["least"].tokens) >= 4
    assert text_of(answers["whole"].tokens) == "ab"  # nothing can follow, whatever min_tokens says
    assert [answers[name].reason for name in ("ignore", "least", "whole", "long")] == ["stop", "stop", "stop", "length"]


def test_a_request_that_forbids_all_that_its_grammar_allows_fails_alone(engine: Engine, alone: Answers) -> None:
    lonely = ask("l", structured_outputs={"regex": "a"}, allowed_token_ids=[68], logprobs=0)
    answers = run(engine, [*mixed(), lonely])
    assert answers["l"].reason == "error"
    said = error_of(answers["l"], refused="structured_outputs")
    assert "structured_outputs and allowed_token_ids together leave no token" in said
    assert all(answers[name].content == alone[name].content for name in alone)


def test_a_bad_grammar_is_refused_alone(engine: Engine, alone: Answers) -> None:
    bad = [ask(f"b{index}", structured_outputs={"regex": text}) for index, text in enumerate(["[", "()", "(?=a)"])]
    answers = run(engine, [*mixed(), *bad])
    for request in bad:
        assert "cannot be used" in error_of(answers[name_of(request.request_id)], refused="structured_outputs")
    assert all(answers[name].content == alone[name].content for name in alone)


@contextmanager
def stuck_compiler() -> Iterator[threading.Event]:
    """Grammars compile when the event is set."""
    real, go = GrammarCompiler._compile, threading.Event()

    def compile_later(self: GrammarCompiler, params: Any) -> Any:
        go.wait(10)
        return real(self, params)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GrammarCompiler, "_compile", compile_later)
        try:
            yield go
        finally:
            go.set()


def test_a_grammar_that_compiles_for_too_long_is_refused_and_holds_nobody_up(built: Engine, alone: Answers) -> None:
    engine = another(built, compile_seconds=0.3)
    free = [request for request in mixed() if request.params.structured_outputs is None]
    with stuck_compiler():
        engine.add(ask("slow", n=2, structured_outputs={"regex": "abc"}))
        assert engine.stats().num_waiting == 1
        answers = {name: Answer() for name in ("slow", "slow.1", *(name_of(request.request_id) for request in free))}
        for request in free:
            engine.add(request)
        collect(engine, answers, limit=100_000)
    for name in ("slow", "slow.1"):
        assert "more than 0.3 seconds" in error_of(answers[name], refused="structured_outputs")
    assert all(
        answers[name_of(request.request_id)].content == alone[name_of(request.request_id)].content for request in free
    )
    assert_idle(engine)


def test_waiting_for_a_grammar_counts_as_waiting_in_the_queue(built: Engine) -> None:
    engine = another(built, max_queued_requests=3)
    with stuck_compiler() as go:
        for index in range(3):
            engine.add(ask(str(index), structured_outputs={"regex": f"a{index}"}))
        with pytest.raises(QueueFullError):
            engine.add(ask("3", structured_outputs={"regex": "a3"}))
        engine.scheduler.queue.capacity += 1
        with pytest.raises(RequestError, match="is running already"):
            engine.add(ask("0", structured_outputs={"regex": "b"}))
        go.set()
        answers = {str(index): Answer() for index in range(3)}
        collect(engine, answers, limit=100_000)
    assert [text_of(answers[str(index)].tokens) for index in range(3)] == ["a0", "a1", "a2"]


def test_abort_at_any_time_leaves_nothing_behind(built: Engine) -> None:
    engine = another(built)
    with stuck_compiler() as go:
        engine.add(ask("parent", n=3, structured_outputs={"regex": "[a-c]{20}"}))
        engine.add(ask("gone", structured_outputs={"regex": "[a-c]{21}"}))
        engine.abort([number("gone"), number("parent")])  # its samples go on without it
        go.set()
        answers = {name: Answer() for name in ("parent.1", "parent.2")}
        collect(engine, answers, limit=100_000)
    assert [len(text_of(answer.tokens)) for answer in answers.values()] == [20, 20]
    assert_idle(engine)
    for steps in range(12):
        for index in range(3):
            engine.add(ask(str(index), seed=index, structured_outputs=WORDS))
        for _ in range(steps):
            engine.step()
        engine.abort([number(str(index)) for index in range(3)])
        collect(engine, {str(index): Answer() for index in range(3)})
        assert_idle(engine)
        assert engine.grammars is not None
        assert not len(engine.grammars)


def test_a_plan_with_masks_can_be_executed_from_its_bytes(built: Engine, alone: Answers) -> None:
    engine = another(built)
    submit, masked = engine.runner.submit, []

    class Distant:
        """A runner that gets plans as bytes."""

        def submit(self, plan: StepPlan) -> Any:
            masked.append(sum(len(shard.masks) for shard in plan.shards))
            return submit(decode_plan(encode_plan(plan)))

    engine.runner = Distant()  # type: ignore[assignment]
    answers = run(engine, mixed())
    assert sum(masked) > 100
    assert all(answers[name].content == alone[name].content for name in alone)


def test_only_the_allowed_are_ranked_among_log_probabilities(engine: Engine) -> None:
    answer = run(engine, [ask("p", structured_outputs={"regex": "[ab]{8}"}, logprobs=5, temperature=0.0)])["p"]
    for entry in answer.logprobs:
        likely = [value for value in entry.top_logprobs if value > -1e30]
        assert entry.rank == 1
        assert sum(pow(2.718281828, value) for value in likely) == pytest.approx(1, abs=1e-4)


def test_without_a_tokenizer_it_is_refused_by_name(engine: Engine) -> None:
    engine = rescheduled(engine)
    with pytest.raises(RequestError, match="tokenizer") as caught:
        engine.add(ask("t", structured_outputs=DIGITS))
    assert caught.value.param == "structured_outputs"
    assert not engine.has_work()


def test_two_data_shards_of_two_devices(model: Path, alone: Answers) -> None:
    """The vocabulary is split over two devices, rows over two others."""
    shape = {"data_parallel_size": 2, "tensor_parallel_size": 2, "max_num_seqs": 4, "max_num_batched_tokens": 16}
    engine = engines.build(model, (Variant.GREEDY, Variant.PLAIN), **shape)
    answers = run(engine, [request for request in mixed() if request.params.logprobs is None])
    assert len(answers) == 6
    assert all(answers[name].tokens == alone[name].tokens for name in answers)
