"""Outputs: the backbone returns hidden rows, and what is made of them is another program."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.execution.runner import Runner
from jaxpaged.execution.step import LogitInput
from jaxpaged.layers.attention import dense_attend
from jaxpaged.sampling.sampler import Sampled
from jaxpaged.scheduling.plan import StepPlan
from tests.engine.dense import Oracle
from tests.engine.drive import ask, rescheduled, run
from tests.engine.tiny import VOCAB
from tests.names import name_of


def test_heads_are_programs_of_their_own(engine: Engine) -> None:
    kinds = {key[0] for key in engine.runner.programs.compiled}
    assert kinds == {"backbone", "backbone_with_embeds", "logits", "sample", "admit", "write_history"}


def test_a_pooling_head_could_take_the_hidden_rows(
    engine: Engine, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the backbone hands on for a sampled row is the decoder's last hidden row of that sequence."""
    prompts = {"a": [3, 1, 4, 1, 5], "b": [(5 * i) % VOCAB for i in range(21)]}
    view = rescheduled(engine, depth=1)
    hidden: dict[str, list[np.ndarray]] = {name: [] for name in prompts}
    head = Runner._head

    def watched(runner: Runner, plan: StepPlan, heads: LogitInput, wanted: int) -> Sampled:
        (shard,) = plan.shards
        owners = shard.request_ids[shard.samples].tolist()
        for owner, row in zip(owners, np.asarray(heads.hidden)[0], strict=False):
            hidden[name_of(owner)].append(row)
        return head(runner, plan, heads, wanted)

    monkeypatch.setattr(Runner, "_head", watched)
    answers = run(view, [ask(name, prompt, max_tokens=3) for name, prompt in prompts.items()])
    for name, prompt in prompts.items():
        tokens = jnp.asarray(prompt + answers[name].tokens[:-1], jnp.int32)
        positions = jnp.arange(len(tokens), dtype=jnp.int32)
        x = oracle.decoder.embed(oracle.leaves, tokens, positions)
        expected, _ = oracle.decoder.hidden(oracle.leaves, x, positions, dense_attend(positions), None)
        np.testing.assert_allclose(np.stack(hidden[name]), np.asarray(expected)[len(prompt) - 1 :], atol=1e-4)
