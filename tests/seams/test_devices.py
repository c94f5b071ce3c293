"""Where it runs is the caller's choice: devices= or mesh=."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxpaged.errors import ConfigError
from tests.engine import tiny
from tests.engine.dense import Oracle
from tests.engine.drive import ask, run


def test_on_the_devices_that_are_named(llama: Path, oracle: Oracle) -> None:
    (device,) = devices = jax.devices()[5:6]
    engine = tiny.build(llama, tiny.GREEDY, devices=devices, max_num_batched_tokens=8)
    runner = engine.runner
    for array in jax.tree.leaves((runner.leaves, runner.pool, runner.rows, runner.sampler_rows)):
        assert array.devices() == {device}
    prompt = [2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5, 9, 0, 4, 5, 2]
    oracle.assert_greedy(prompt, run(engine, [ask("a", prompt, max_tokens=20)])["a"].tokens)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mesh": jax.sharding.Mesh(np.array(jax.devices()[:2]).reshape(2, 1), ("x", "y"))}, "axes"),
        ({"devices": jax.devices()[:1], "tensor_parallel_size": 2}, "needs 2 devices, but there are 1"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_loads(llama: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny.build(llama, **options)
