"""Kinds of layers that jaxpaged does not know, in the real engine: a recurrence, and a hybrid with latent attention.

What they keep goes through the scheduler, the pool and the step programs by their own files alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import ChildSample, EngineRequest
from jaxpaged.kv.spec import FullAttentionSpec
from jaxpaged.sampling.variant import Variant
from tests.engine import tiny
from tests.engine.dense import Oracle, oracle_of
from tests.engine.drive import Answer, Answers, ask, assert_idle, collect, preemptions, rescheduled, run
from tests.names import name_of, number
from tests.seams import toy_latent, toy_recurrent

PAGE, CHUNK, HIDDEN = 4, 16, 32
LENGTHS = (1, 3, 4, 5, 8, 15, 17, 40)


@dataclass(frozen=True)
class Toy:
    engine: Engine
    oracle: Oracle


@pytest.fixture(scope="module", params=["recurrent", "hybrid"])
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Two recurrent layers; or a latent, a recurrent and an ordinary layer on two devices."""
    hybrid = request.param == "hybrid"
    family, registry = (toy_latent, toy_latent.WITH_LATENT) if hybrid else (toy_recurrent, toy_recurrent.WITH_RECURRENT)
    config = {**tiny.LLAMA, "architectures": list(family.ARCHITECTURE.names), "num_hidden_layers": 3 if hybrid else 2}
    tensors = tiny.random_tensors(family.shapes_of(config), seed=3)
    directory = tiny.write(tmp_path_factory.mktemp(request.param), config, tensors)
    engine = tiny.build(
        directory,
        (Variant.GREEDY, Variant.PLAIN),
        registry=registry,
        block_size=PAGE,
        max_num_batched_tokens=CHUNK,
        tensor_parallel_size=2 if hybrid else 1,
    )
    return Toy(engine, oracle_of(directory, tiny.CONTEXT, registry=registry))


def prompt(length: int) -> list[int]:
    return [(7 * i * i + 3 * length) % tiny.VOCAB for i in range(length)]


def questions(tokens: int = 14) -> list[EngineRequest]:
    return [ask(str(n), prompt(n), max_tokens=tokens) for n in LENGTHS]


def check(toy: Toy, view: Engine, each_step: Callable[[int], None] | None = None) -> None:
    answers = run(view, questions(), each_step)
    for n in LENGTHS:
        toy.oracle.assert_greedy(prompt(n), answers[str(n)].tokens)


def test_each_kind_has_a_group_whose_pages_are_its_own(toy: Toy) -> None:
    geometry = toy.engine.runner.pool.geometry
    found = [(group.kind, group.layers) for group in geometry.groups]
    states = toy_recurrent.StateSpec(HIDDEN)
    if geometry.mesh.size == 1:
        assert found == [(states, (0, 1))]
        assert geometry.page_bytes(0) == 2 * HIDDEN * 4
        return
    latent, full = toy_latent.LatentSpec(toy_latent.KEY), FullAttentionSpec(2, 8)
    assert found == [(latent, (0,)), (full, (2,)), (states, (1,))]
    whole, half = PAGE * toy_latent.KEY * 4, 2 * 2 * 8 * PAGE * 4 // 2
    assert [geometry.page_bytes(group) for group in range(3)] == [whole, half, HIDDEN * 4 // 2]
    for group, array in enumerate(toy.engine.runner.pool.arrays):
        pages = toy.engine.runner.pool.num_pages(group)
        assert array.addressable_shards[0].data.nbytes == pages * geometry.page_bytes(group)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_answers_are_those_of_the_model_without_a_cache(toy: Toy, depth: int) -> None:
    check(toy, rescheduled(toy.engine, depth=depth))


@pytest.mark.parametrize("caching", [False, True])
def test_with_few_pages_requests_are_preempted_and_still_answer(toy: Toy, caching: bool) -> None:
    """All cross into their second page at once, when there are not two for each."""
    prompts = {str(i): [5 * i + 1, 7 * i + 2, 3] for i in range(8)}
    tight = rescheduled(toy.engine, pages=13, caching=caching)
    answers = run(tight, [ask(name, tokens, max_tokens=36) for name, tokens in prompts.items()])
    for name, tokens in prompts.items():
        toy.oracle.assert_greedy(tokens, answers[name].tokens)
    assert preemptions(tight) > 0


def test_states_that_are_passed_are_let_go(toy: Toy) -> None:
    view, most = rescheduled(toy.engine, depth=1), 0
    (shard,) = view.scheduler.shards

    def note(_: int) -> None:
        nonlocal most
        decoding = shard.rows.active & (shard.rows.computed > shard.rows.prompt_len)
        held = (shard.rows.end_page[-1] - shard.rows.first_page[-1])[decoding]
        most = max(most, *held.tolist(), 0)

    check(toy, view, note)
    assert most == 3


def test_a_stored_state_serves_a_prefix_hit(toy: Toy) -> None:
    view = rescheduled(toy.engine)
    check(toy, view)
    before = view.stats().prefix_cache_hits
    check(toy, view)
    assert view.stats().prefix_cache_hits >= before + 4 + 12 + 16 + 36  # of prompts of 5, 15, 17 and 40 tokens
    longer = [*prompt(40), 5, 6, 7]
    asked = view.stats().prefix_cache_hits
    toy.oracle.assert_greedy(longer, run(view, [ask("longer", longer)])["longer"].tokens)
    assert view.stats().prefix_cache_hits == asked + 40


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("after", [3, 4, 5, 6, 7])
def test_a_fork_goes_on_from_a_copy_of_the_state(toy: Toy, depth: int, after: int) -> None:
    """The child draws other tokens than its parent, so a state that both write to would spoil both."""
    view = rescheduled(toy.engine, depth=depth, caching=False)
    params = {"temperature": 1.0, "seed": 7}
    view.add(ask("parent", prompt(9), max_tokens=24))
    answers, parent = {"parent": Answer(), "child": Answer()}, number("parent")
    known: list[int] = []

    def fork(step: int) -> None:
        if step != after:
            return
        request = view.scheduler.requests[parent]
        shard = view.scheduler.shards[0]
        known[:] = shard.rows.tokens(request.row).tolist()
        child = view.make_request(ask("child", prompt(9), max_tokens=24, **params))
        view._requests[child.request_id] = child
        view.scheduler.fork(parent, child)
        settled = int(shard.rows.planned_computed[request.row]) == int(shard.rows.computed[request.row])
        assert settled == (depth == 1)
        if settled:
            assert shard.allocators[-1].has_forks == (len(known) % PAGE != 1)

    collect(view, answers, fork)
    assert_idle(view)
    toy.oracle.assert_greedy(prompt(9), answers["parent"].tokens)
    alone = run(rescheduled(toy.engine, caching=False), [ask("alone", known, max_tokens=9 + 24 - len(known), **params)])
    assert answers["child"].tokens == alone["alone"].tokens
    assert answers["child"].tokens != answers["parent"].tokens[len(known) - 9 :]


@pytest.mark.parametrize("length", [1, 4, 5, 9, 18, 33])
def test_samples_of_one_prompt_answer_as_on_their_own(toy: Toy, length: int) -> None:
    asked = [ask(str(i), prompt(length), temperature=1.0, seed=40 + i, max_tokens=8) for i in range(4)]
    children = tuple(ChildSample(message.request_id, message.params) for message in asked[1:])
    view = rescheduled(toy.engine, caching=False)
    view.add(replace(asked[0], children=children))
    answers: Answers = {name_of(message.request_id): Answer() for message in asked}
    collect(view, answers)
    assert_idle(view)
    apart = run(rescheduled(toy.engine, caching=False), asked)
    assert {name: answer.tokens for name, answer in answers.items()} == {n: a.tokens for n, a in apart.items()}


@pytest.mark.parametrize("after", [1, 4, 9])
def test_an_aborted_request_leaves_nothing_behind(toy: Toy, after: int) -> None:
    view = rescheduled(toy.engine)
    for message in questions():
        view.add(message)
    answers: Answers = {str(n): Answer() for n in LENGTHS}
    collect(view, answers, lambda step: view.abort([number("17"), number("1")]) if step == after else None)
    assert_idle(view)
    for n in set(LENGTHS) - {1, 17}:
        toy.oracle.assert_greedy(prompt(n), answers[str(n)].tokens)


def test_what_free_pages_hold_changes_nothing(toy: Toy) -> None:
    """NaN in every page that nobody holds and the prefix cache does not know, before each step."""
    view = rescheduled(toy.engine, depth=1)

    def spoil(_: int) -> None:
        pool, arrays = view.runner.pool, []
        for group, array in enumerate(pool.arrays):
            allocator = view.scheduler.shards[0].allocators[group]
            content = np.array(array)
            content[:, : allocator.num_pages][:, (allocator.refs == 0) & ~allocator._contents.known] = np.nan
            arrays.append(jax.device_put(content, array.sharding))
        view.runner.pool = pool.with_arrays(tuple(arrays))

    check(toy, view, spoil)
