"""Plans are values: a runner on another host, fed with their bytes alone, computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
import pytest

from jaxpaged.engine.collect import step_result
from jaxpaged.engine.engine import Engine
from jaxpaged.execution.runner import PendingStep, Runner
from jaxpaged.kv.pool import KVPool
from jaxpaged.sampling.variant import Variant
from jaxpaged.scheduling.plan import StepPlan
from jaxpaged.scheduling.plan_wire import decode_plan, encode_plan
from tests.engine.drive import ask, preemptions, rescheduled, run
from tests.engine.tiny import VOCAB
from tests.names import name_of, number


@dataclass
class Recorder:
    """Passes plans on, and keeps their bytes and results."""

    runner: Runner
    sent: list[bytes] = field(default_factory=list)
    pending: list[PendingStep] = field(default_factory=list)

    def submit(self, plan: StepPlan) -> PendingStep:
        self.sent.append(encode_plan(plan))
        self.pending.append(self.runner.submit(plan))
        return self.pending[-1]

    def update_weights(self, weights: Mapping[str, Any]) -> None:
        raise AssertionError

    def sleep(self, level: int) -> None:
        raise AssertionError

    def wake_up(self) -> None:
        raise AssertionError


def another_host(runner: Runner) -> Runner:
    """A runner with the same programs and weights, and nothing in its memory."""

    def blank(state: Any) -> Any:
        return jax.tree.map(lambda array: jax.device_put(np.zeros(array.shape, array.dtype), array.sharding), state)

    pages = [runner.pool.num_pages(group) for group in range(len(runner.pool.arrays))]
    return replace(
        runner,
        pool=KVPool.allocate(runner.pool.geometry, pages),
        rows=blank(runner.rows),
        sampler_rows=blank(runner.sampler_rows),
        logits=blank(runner.logits),
        embeds=type(runner.embeds)(),
    )


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_runner_fed_with_bytes_gives_the_same_tokens(
    engine: Engine, tensors: dict[str, np.ndarray], depth: int
) -> None:
    view = rescheduled(engine, pages=12, depth=depth)
    recorder = Recorder(view.runner)
    view = replace(view, runner=recorder)
    prompts = [[(7 * i + 3 * n) % VOCAB for i in range(n)] for n in (5, 30, 33, 60, 9, 40)]
    requests = [ask(str(i), prompt, max_tokens=25, stop_token_ids=[3 * i]) for i, prompt in enumerate(prompts)]
    rows = tensors["model.embed_tokens.weight"][prompts[1]]
    requests.append(ask("embeds", [0] * len(rows), embeds=rows.tobytes(), max_tokens=25))
    run(view, requests)
    run(view, [replace(request, request_id=number(f"again {name_of(request.request_id)}")) for request in requests])
    for name in ("once", "twice"):  # alone, so that the pool keeps its pages
        run(view, [ask(name, prompts[2], max_tokens=2)])
    assert preemptions(view) > 0
    assert view.stats().prefix_cache_hits > 0

    other = another_host(recorder.runner)
    for data, pending in zip(recorder.sent, recorder.pending, strict=True):
        plan = decode_plan(data)
        ours = step_result(pending.plan, pending.wait())
        theirs = step_result(plan, other.submit(plan).wait())
        for mine, yours in zip(ours.shards, theirs.shards, strict=True):
            assert mine.tokens.tolist() == yours.tokens.tolist()
            assert mine.finite.tolist() == yours.finite.tolist()


def test_a_plan_survives_its_bytes(engine: Engine) -> None:
    view = rescheduled(engine)  # it makes plans and runs none, so the greedy sampler is no bound
    view = replace(view, make_request=replace(view.make_request, variants=tuple(Variant)))
    view.add(ask("a", [1, 2, 3], logit_bias={3: 1.5}, bad_words=["x"], _bad_words_token_ids=[[1, 2]], seed=2**60))
    plan = view.scheduler.schedule()
    assert plan is not None
    again = decode_plan(encode_plan(plan))
    assert encode_plan(again) == encode_plan(plan)
    (admission,), (before,) = again.shards[0].admissions, plan.shards[0].admissions
    assert admission.params == before.params
    assert admission.seed == 2**60
    view.abort([number("a")])
