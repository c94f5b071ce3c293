"""Eight virtual devices in every arrangement give the tokens of one device, with two all-reduces a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.sharding.mesh import make_mesh
from tests.engine import tiny
from tests.engine.dense import oracle_of
from tests.engine.drive import ask, run
from tests.execution.hlo import collectives
from tests.models.case import write_checkpoint
from tests.models.cases import CASE

LAYERS = 2
CONTEXT = 96


def llama(**changes: Any) -> Callable[[Path], Any]:
    sizes = {"num_attention_heads": 8, "hidden_size": 64, "vocab_size": 1531, "num_hidden_layers": LAYERS}
    return lambda directory: tiny.write_llama(directory, **{**sizes, **changes})


# Two KV heads on up to eight devices, one on all of them, and slopes for six heads (no power of two).
MODELS: Mapping[str, Callable[[Path], Any]] = {
    "gqa": llama(num_key_value_heads=2),
    "mqa": llama(num_key_value_heads=1),
    "alibi": lambda directory: write_checkpoint(CASE["bloom"], directory),
}


# Data and model parts of the mesh. In CI: each of them and each model.
MESHES = [(1, 8), (2, 4), (4, 2)]
IN_CI = [("gqa", (1, 8)), ("gqa", (4, 2)), ("mqa", (2, 4)), ("alibi", (1, 8))]
SHAPES = [(model, mesh) for model in MODELS for mesh in MESHES]
PARAMETERS = [
    pytest.param(
        shape, id=f"{shape[0]} {shape[1][0]}x{shape[1][1]}", marks=() if shape in IN_CI else pytest.mark.matrix
    )
    for shape in SHAPES
]


@pytest.fixture(scope="module", params=PARAMETERS)
def shape(request: pytest.FixtureRequest) -> tuple[str, tuple[int, int]]:
    return request.param


@pytest.fixture(scope="module")
def directory(shape: tuple[str, tuple[int, int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp(shape[0])
    MODELS[shape[0]](made)
    return made


@pytest.fixture(scope="module")
def engine(shape: tuple[str, tuple[int, int]], directory: Path) -> Engine:
    """The mesh is brought by the caller; the flags are tested with the data shards below."""
    data, model = shape[1]
    return tiny.build(
        directory, tiny.GREEDY, mesh=make_mesh(model, data), max_num_batched_tokens=8, max_model_len=CONTEXT
    )


def test_the_tokens_of_a_single_device(engine: Engine, directory: Path) -> None:
    oracle = oracle_of(directory, CONTEXT)
    vocab = oracle.decoder.spec.vocab_size
    prompts = {f"{n}": [(17 * i * i + 5 * n) % vocab for i in range(n)] for n in (1, 7, 16, 17, 33, 50, 64, 70)}
    answers = run(engine, [ask(name, prompt, max_tokens=16) for name, prompt in prompts.items()])
    for name, prompt in prompts.items():
        oracle.assert_greedy(prompt, answers[name].tokens)


def test_two_all_reduces_a_layer_and_nothing_else(engine: Engine) -> None:
    """One more brings the rows of the embedding table together, which is cut by vocabulary."""
    text = engine.runner.programs["backbone", 8].as_text()
    assert collectives(text) == {"all-reduce": 2 * LAYERS + 1}


def test_parameters_and_pool_are_cut(engine: Engine) -> None:
    data, model = engine.runner.mesh.shape["data"], engine.runner.mesh.shape["model"]
    for pool in engine.runner.pool.arrays:
        assert pool.addressable_shards[0].data.size * data * model == pool.size
    for leaf in engine.runner.leaves:
        if leaf.ndim > 1 and leaf.size > 8 * tiny.LLAMA["hidden_size"] * model:
            assert leaf.addressable_shards[0].data.size * model == leaf.size, leaf.shape


def test_data_shards_share_the_work(directory: Path, engine: Engine) -> None:
    shards = engine.scheduler.shards
    assert len(shards) == engine.runner.mesh.shape["data"]
    prompts = [[i + 1] * 20 for i in range(8)]
    seen: dict[str, int] = {}

    def note(_: int) -> None:
        seen.update({name: request.shard for name, request in engine.scheduler.requests.items() if request.row})

    run(engine, [ask(str(i), prompt) for i, prompt in enumerate(prompts)], note)
    assert set(seen.values()) == set(range(len(shards)))
