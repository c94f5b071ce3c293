"""What is broken stays where it is: NaN in weights ends one request, garbage in unused memory changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import EngineRequest
from tests.engine.beams import expected, run_searches, search
from tests.engine.drive import Answer, Answers, ask, assert_idle, collect, preemptions, rescheduled, run
from tests.engine.poison import poison
from tests.engine.tiny import VOCAB

BROKEN = 99  # a token that nobody uses unless a test says so


def prompt(length: int, salt: int) -> list[int]:
    tokens = [(13 * i + 31 * salt) % VOCAB for i in range(length)]
    return [token if token != BROKEN else 0 for token in tokens]


@contextmanager
def broken_embedding(engine: Engine, directory: Path) -> Iterator[None]:
    """The embedding of BROKEN is NaN."""
    table = load_file(directory / "model.safetensors")["model.embed_tokens.weight"]
    leaves = engine.runner.leaves
    where = next(
        i for i, leaf in enumerate(leaves) if leaf.ndim == 2 and np.array_equal(np.asarray(leaf)[: len(table)], table)
    )
    spoiled = np.array(leaves[where])
    spoiled[BROKEN] = np.nan
    engine.runner.leaves = (*leaves[:where], jax.device_put(spoiled, leaves[where].sharding), *leaves[where + 1 :])
    try:
        yield
    finally:
        engine.runner.leaves = leaves


def mates() -> list[EngineRequest]:
    forbid = {"logit_bias": {BROKEN: -100.0}}
    return [ask(f"mate{i}", prompt(n, i), max_tokens=20, logprobs=1, **forbid) for i, n in enumerate((5, 20, 50))]


@pytest.fixture(scope="module")
def undisturbed(engine: Engine) -> Answers:
    return run(rescheduled(engine), mates())


def assert_failed(answer: Answer, tokens: int) -> None:
    assert answer.last is not None
    assert answer.reason == "error"
    assert "not finite" in (answer.last.error or "")
    assert len(answer.tokens) == tokens


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("place", [0, 17, 39])
def test_nan_in_a_prompt_ends_that_request_only(
    engine: Engine, undisturbed: Answers, llama: Path, place: int, depth: int
) -> None:
    spoiled = prompt(40, 7)
    spoiled[place] = BROKEN
    view = rescheduled(engine, depth=depth)
    clean = run(rescheduled(engine), [ask("bad", spoiled)])["bad"]
    with broken_embedding(engine, llama):
        answers = run(view, [ask("bad", spoiled, prompt_logprobs=1), *mates()])
        assert_failed(answers.pop("bad"), 0)
        for name, answer in answers.items():
            assert answer.content == undisturbed[name].content
        assert_failed(run(view, [ask("bad", spoiled)])["bad"], 0)
        # Its pages are free but full of NaN: whoever gets them next must not notice.
        assert run(view, mates())["mate2"].content == undisturbed["mate2"].content
    again = run(view, [ask("bad", spoiled)])["bad"]
    assert again.last is not None
    assert again.last.num_cached_tokens == 0
    assert again.content == clean.content


def test_nan_while_decoding_ends_that_request_only(engine: Engine, undisturbed: Answers, llama: Path) -> None:
    """The first token is forced to be the broken one, so the second has no finite logits."""
    view = rescheduled(engine)
    with broken_embedding(engine, llama):
        answers = run(view, [ask("bad", prompt(30, 7), logit_bias={BROKEN: 100.0}), *mates()])
    assert_failed(answers.pop("bad"), 1)
    for name, answer in answers.items():
        assert answer.content == undisturbed[name].content
    again = run(view, [ask("again", prompt(30, 7), max_tokens=4)])["again"]
    assert again.content == run(rescheduled(engine), [ask("again", prompt(30, 7), max_tokens=4)])["again"].content


@pytest.mark.parametrize("value", [np.nan, 1e4])
@pytest.mark.parametrize("options", [{}, {"pages": 10}, {"max_num_seqs": 8, "max_num_batched_tokens": 8}])
def test_garbage_in_free_pages_and_unwritten_slots_changes_nothing(
    engine: Engine, value: float, options: dict[str, int]
) -> None:
    clean = run(rescheduled(engine, depth=1, **options), [*mates(), *shared()])
    view = rescheduled(engine, depth=1, **options)
    poisoned = run(view, [*mates(), *shared()], poisoner(view, value))
    assert {name: answer.content for name, answer in poisoned.items()} == {
        name: answer.content for name, answer in clean.items()
    }
    again = run(view, shared(), poisoner(view, value))
    assert all(answer.content == clean[name].content for name, answer in again.items())
    if not options:
        assert view.stats().prefix_cache_hits > 0
    if "pages" in options:
        assert preemptions(view) > 0


def shared() -> list[EngineRequest]:
    return [ask(f"s{i}", prompt(40 + i, 3), max_tokens=10, temperature=1.0, seed=i) for i in range(3)]


def poisoner(engine: Engine, value: float) -> Callable[[int], None]:
    return lambda _: poison(engine, value)


@pytest.mark.parametrize("place", [None, 17])
def test_nan_in_one_beam_fails_its_search_only(
    engine: Engine, undisturbed: Answers, llama: Path, place: int | None
) -> None:
    """Without a place: in a beam that chooses the broken token, as one of these does in the clean run."""
    spoiled = prompt(40, 7)
    if place is not None:
        spoiled[place] = BROKEN
    view = rescheduled(engine)
    bad, good = search("bad", spoiled, 4, max_tokens=60), search("good", prompt(33, 3), 3, max_tokens=4)
    if place is None:
        assert any(BROKEN in answer.tokens for answer in run_searches(rescheduled(engine), [bad]).values())
    clean = run_searches(rescheduled(engine), [good])
    with broken_embedding(engine, llama):
        for message in (bad, good, *mates()):
            view.add(message)
        answers = expected([bad, good, *mates()])
        collect(view, answers)
        assert_idle(view)
    failed = [answers.pop(f"bad.{index}") for index in range(4)]
    for answer in failed:
        assert_failed(answer, 0)
    for name, answer in answers.items():
        assert answer.content == {**undisturbed, **clean}[name].content
