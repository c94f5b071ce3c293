"""Experts on several devices, each cut or whole: the tokens of one device, with two all-reduces a layer."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.errors import ConfigError
from tests.engine import tiny
from tests.engine.dense import oracle_of
from tests.engine.drive import ask, run
from tests.execution.hlo import collectives
from tests.models.case import write_checkpoint
from tests.models.cases import CASE

CONTEXT = 96
EXPERTS = 6


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("experts")
    write_checkpoint(CASE["qwen2_moe"], made)
    return made


@pytest.fixture(scope="module", params=[False, True], ids=["cut", "whole"])
def engine(request: pytest.FixtureRequest, directory: Path) -> Engine:
    return tiny.build(
        directory,
        tiny.GREEDY,
        tensor_parallel_size=2,
        data_parallel_size=2,
        enable_expert_parallel=request.param,
        max_num_batched_tokens=8,
        max_model_len=CONTEXT,
    )


def test_the_tokens_of_a_single_device(engine: Engine, directory: Path) -> None:
    oracle = oracle_of(directory, CONTEXT)
    vocab = oracle.decoder.spec.vocab_size
    prompts = {f"{n}": [(17 * i * i + 5 * n) % vocab for i in range(n)] for n in (1, 7, 33, 70)}
    answers = run(engine, [ask(name, prompt, max_tokens=16) for name, prompt in prompts.items()])
    for name, prompt in prompts.items():
        oracle.assert_greedy(prompt, answers[name].tokens)


def test_each_device_has_its_share_of_the_experts(engine: Engine) -> None:
    held = [leaf for leaf in engine.runner.leaves if leaf.ndim > 2 and leaf.shape[0] == EXPERTS]
    assert held
    for leaf in held:
        assert leaf.addressable_shards[0].data.size * 2 == leaf.size


def test_only_sums_go_between_devices(engine: Engine) -> None:
    """Two of them in a layer, one more in that with a shared expert, and one for the embedding."""
    text = engine.runner.programs["backbone", 8].as_text()
    assert set(collectives(text)) == {"all-reduce"}


def test_experts_that_cannot_be_shared_out_are_refused(directory: Path) -> None:
    with pytest.raises(ConfigError, match="6 experts cannot be shared out evenly among 4 devices"):
        tiny.build(directory, tiny.GREEDY, tensor_parallel_size=4, enable_expert_parallel=True)


def test_a_dense_model_has_no_experts_to_share_out(tmp_path: Path) -> None:
    write_checkpoint(CASE["llama"], tmp_path)
    with pytest.raises(ConfigError, match="this model has none"):
        tiny.build(tmp_path, tiny.GREEDY, tensor_parallel_size=2, enable_expert_parallel=True)
