"""Weights in memory: replaced between steps without a compile, put to sleep and woken up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.errors import RequestError, WeightError
from tests.engine import tiny
from tests.engine.dense import Oracle, oracle_of
from tests.engine.drive import Answer, Answers, ask, assert_idle, collect, run
from tests.engine.tiny import VOCAB, Tensors
from tests.names import name_of, number

PROMPT = [(3 * i * i + 1) % VOCAB for i in range(40)]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tensors, Oracle]:
    """Another checkpoint of the same shapes, and what it answers."""
    tensors = tiny.random_tensors(tiny.llama_shapes(tiny.LLAMA), seed=2)
    directory = tiny.write(tmp_path_factory.mktemp("other"), tiny.LLAMA, tensors)
    return tensors, oracle_of(directory, tiny.CONTEXT)


@pytest.fixture(autouse=True)
def restored(engine: Engine, tensors: Tensors) -> Iterator[None]:
    yield
    assert_idle(engine)
    engine.update_weights(tensors)


def answer(engine: Engine, name: str = "a", **params: object) -> Answer:
    return run(engine, [ask(name, PROMPT, max_tokens=12, **params)])[name]


def test_new_weights_answer_at_once_and_nothing_compiles(
    engine: Engine, oracle: Oracle, other: tuple[Tensors, Oracle]
) -> None:
    tensors, expected = other
    oracle.assert_greedy(PROMPT, answer(engine).tokens)
    before = engine.stats().compiles_after_ready
    engine.update_weights(tensors)
    assert engine.stats().compiles_after_ready == before
    changed = answer(engine)
    expected.assert_greedy(PROMPT, changed.tokens)
    assert changed.last is not None
    assert changed.last.num_cached_tokens == 0  # the old prefix is forgotten
    again = answer(engine)
    assert again.last is not None
    assert again.last.num_cached_tokens == 32
    assert again.tokens == changed.tokens


def test_weights_from_a_directory(engine: Engine, other: tuple[Tensors, Oracle], tmp_path: Path) -> None:
    tiny.write(tmp_path, tiny.LLAMA, other[0])
    engine.update_weights(tmp_path)
    other[1].assert_greedy(PROMPT, answer(engine).tokens)


def test_some_of_the_weights(engine: Engine, other: tuple[Tensors, Oracle], tensors: Tensors, tmp_path: Path) -> None:
    new = {name: other[0][name] for name in ("model.norm.weight", "model.layers.1.mlp.down_proj.weight")}
    engine.update_weights(new)
    mixed = oracle_of(tiny.write(tmp_path, tiny.LLAMA, tensors | new), tiny.CONTEXT)
    mixed.assert_greedy(PROMPT, answer(engine).tokens)


def test_between_the_steps_of_running_requests(engine: Engine, oracle: Oracle, other: tuple[Tensors, Oracle]) -> None:
    """What was sampled before stays, nothing is lost, and pages from before are not given to others."""
    answers: Answers = {name: Answer() for name in ("a", "b", "c")}
    engine.add(ask("a", PROMPT, max_tokens=30))
    for _ in range(14):
        for output in engine.step():
            answers[name_of(output.request_id)].take(output)
    begun = len(answers["a"].tokens)
    assert begun > 0
    engine.update_weights(other[0])
    engine.add(ask("b", PROMPT, max_tokens=12))
    collect(engine, answers)
    engine.add(ask("c", PROMPT, max_tokens=12))
    collect(engine, answers)
    oracle.assert_greedy(PROMPT, answers["a"].tokens[:begun])
    assert len(answers["a"].tokens) == 30
    for name in "bc":
        other[1].assert_greedy(PROMPT, answers[name].tokens)


def test_no_output_of_an_aborted_request_comes_late(engine: Engine, other: tuple[Tensors, Oracle]) -> None:
    engine.add(ask("a", PROMPT[:5], max_tokens=30))
    for _ in range(5):
        engine.step()
    engine.update_weights(other[0])  # collects what is in flight
    engine.abort([number("a")])
    assert not engine.has_work()
    assert engine.step() == []


def test_weights_that_do_not_fit_change_nothing(engine: Engine, oracle: Oracle, tensors: Tensors) -> None:
    name = "model.layers.0.mlp.gate_proj.weight"
    for bad in ({name: tensors[name].T}, {name: tensors[name] * np.float32(np.nan)}, {"nobody": tensors[name]}):
        with pytest.raises(WeightError):
            engine.update_weights(bad)
    oracle.assert_greedy(PROMPT, answer(engine).tokens)


def test_sleep_and_wake_up_keep_the_answers(engine: Engine) -> None:
    before = answer(engine)
    leaves, pool = engine.runner.leaves, engine.runner.pool
    compiles = engine.stats().compiles_after_ready
    engine.sleep(1)
    assert all(array.is_deleted() for array in (*leaves, *pool.arrays))
    with pytest.raises(RequestError, match="wake_up"):
        engine.add(ask("asleep", PROMPT))
    engine.wake_up()
    assert engine.stats().compiles_after_ready == compiles
    after = answer(engine)
    assert after.content == before.content
    assert after.last is not None
    assert after.last.num_cached_tokens == 0  # the pool is empty


def test_deep_sleep_drops_the_weights_until_new_ones_come(engine: Engine, other: tuple[Tensors, Oracle]) -> None:
    engine.sleep(2)
    engine.wake_up()
    assert not any(np.asarray(leaf).any() for leaf in engine.runner.leaves)
    engine.update_weights(other[0])
    other[1].assert_greedy(PROMPT, answer(engine).tokens)


def test_level_0_keeps_everything(engine: Engine) -> None:
    before, leaves = answer(engine), engine.runner.leaves
    engine.sleep(0)
    assert engine.is_sleeping()
    with pytest.raises(RequestError, match="wake_up"):
        engine.add(ask("asleep", PROMPT))
    engine.wake_up()
    assert engine.runner.leaves is leaves
    after = answer(engine)
    assert after.content == before.content
    assert after.last is not None
    assert after.last.num_cached_tokens > 0


@pytest.mark.parametrize("level", [3, -1, "x", True, None, 1.5])
def test_other_levels_are_refused(engine: Engine, level: object) -> None:
    leaves = engine.runner.leaves
    with pytest.raises(ValueError, match="level is"):
        engine.sleep(level)  # type: ignore[arg-type]
    assert engine.runner.leaves is leaves
    assert not engine.is_sleeping()


@pytest.mark.parametrize("level", [0, 1, 2])
def test_new_weights_while_it_sleeps_are_kept(engine: Engine, other: tuple[Tensors, Oracle], level: int) -> None:
    engine.sleep(level)
    engine.update_weights(other[0])
    assert engine.is_sleeping()
    engine.wake_up()
    other[1].assert_greedy(PROMPT, answer(engine).tokens)


def test_weights_wake_before_the_pool(engine: Engine, other: tuple[Tensors, Oracle]) -> None:
    """The order of reinforcement learning: room for the new weights first, then for the cache."""
    pool = engine.runner.pool
    engine.sleep(2)
    engine.wake_up(["weights"])
    assert engine.is_sleeping()
    assert all(array.is_deleted() for array in pool.arrays)
    engine.update_weights(other[0])
    engine.wake_up(["kv_cache"])
    assert not engine.is_sleeping()
    other[1].assert_greedy(PROMPT, answer(engine).tokens)
    with pytest.raises(RequestError, match="tags has 'nobody'"):
        engine.wake_up(["nobody"])


def test_a_deeper_sleep_drops_what_a_lighter_one_kept(engine: Engine, tensors: Tensors) -> None:
    engine.sleep(1)
    engine.sleep(2)
    engine.wake_up()
    assert not any(np.asarray(leaf).any() for leaf in engine.runner.leaves)
    engine.update_weights(tensors)


def test_a_busy_engine_does_not_sleep(engine: Engine) -> None:
    engine.add(ask("a", PROMPT))
    with pytest.raises(RequestError, match="unfinished"):
        engine.sleep()
    engine.abort([number("a")])
