"""Outputs: the backbone returns hidden rows, and what is made of them is another program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxpaged.engine.engine import Engine
from jaxpaged.execution.compiler import ProgramTable
from jaxpaged.execution.runner import PendingStep, Runner
from jaxpaged.execution.step import LogitInput
from jaxpaged.layers.attention import dense_attend
from jaxpaged.scheduling.plan import StepPlan
from tests.engine.dense import Oracle
from tests.engine.drive import ask, rescheduled, run
from tests.engine.tiny import VOCAB
from tests.names import name_of


def test_heads_are_programs_of_their_own(engine: Engine) -> None:
    kinds = {key[0] for key in engine.runner.programs.compiled}
    assert kinds == {"backbone", "backbone_with_embeds", "logits", "sample", "admit", "write_history"}


@dataclass
class KeepingHidden:
    """A runner whose programs of the head also keep the hidden rows that they are given, by the request's name."""

    runner: Runner
    last: np.ndarray | None = None
    hidden: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        compiled = self.runner.programs.compiled
        heads = {key: self.keeping(program) for key, program in compiled.items() if key[0] == "logits"}
        self.runner = replace(self.runner, programs=ProgramTable(1, {**compiled, **heads}))

    def keeping(self, program: Callable[..., Any]) -> Callable[..., Any]:
        def head(leaves: Any, logits: Any, rows: LogitInput) -> Any:
            self.last = np.asarray(rows.hidden)[0]
            return program(leaves, logits, rows)

        return head

    def submit(self, plan: StepPlan) -> PendingStep:
        pending = self.runner.submit(plan)
        (shard,) = plan.shards
        for owner, row in zip(shard.request_ids[shard.samples].tolist(), self.last, strict=False):
            self.hidden.setdefault(name_of(owner), []).append(row)
        return pending


def test_a_pooling_head_could_take_the_hidden_rows(engine: Engine, oracle: Oracle) -> None:
    """What the backbone hands on for a sampled row is the decoder's last hidden row of that sequence."""
    prompts = {"a": [3, 1, 4, 1, 5], "b": [(5 * i) % VOCAB for i in range(21)]}
    view, own = rescheduled(engine, depth=1), engine.runner
    keeping = KeepingHidden(own)
    view = replace(view, runner=keeping)
    answers = run(view, [ask(name, prompt, max_tokens=3) for name, prompt in prompts.items()])
    # Programs donate what they change: the arrays of the shared engine's runner are those of the copy now.
    engine.runner = replace(keeping.runner, programs=own.programs)
    for name, prompt in prompts.items():
        tokens = jnp.asarray(prompt + answers[name].tokens[:-1], jnp.int32)
        positions = jnp.arange(len(tokens), dtype=jnp.int32)
        x = oracle.decoder.embed(oracle.leaves, tokens, positions)
        expected, _ = oracle.decoder.hidden(oracle.leaves, x, positions, dense_attend(positions), None)
        np.testing.assert_allclose(np.stack(keeping.hidden[name]), np.asarray(expected)[len(prompt) - 1 :], atol=1e-4)
