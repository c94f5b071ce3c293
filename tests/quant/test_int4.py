"""A checkpoint whose matrices are int4 in groups answers as the floats that it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from jaxpaged.decoder.functional import build_decoder
from jaxpaged.errors import WeightError
from jaxpaged.models.registry import REGISTRY
from jaxpaged.quant.schemes import SCHEMES
from jaxpaged.sharding.mesh import make_mesh
from jaxpaged.weights.loader import load_weights
from tests.engine import tiny
from tests.engine.dense import Oracle, oracle_of
from tests.engine.drive import ask, run
from tests.models import dense

GROUP = 16
PROMPTS = [[(5 * i * i + n) % tiny.VOCAB for i in range(n)] for n in (1, 7, 30)]
DECODER = build_decoder(REGISTRY.spec_from_config(tiny.LLAMA), dtype=np.float32, scheme=SCHEMES["int4"])
RULES = REGISTRY.find_architecture(tiny.LLAMA).weights


@dataclass(frozen=True)
class Checkpoint:
    packed: Path
    oracle: Oracle  # of the floats


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """In plain numpy: each group's largest value becomes 7."""
    packed, floats = {}, {}
    for name, tensor in tiny.random_tensors(tiny.llama_shapes(tiny.LLAMA), seed=2).items():
        if "proj" not in name:
            packed[name] = floats[name] = tensor
            continue
        groups = tensor.reshape(len(tensor), -1, GROUP)
        scales = np.abs(groups).max(-1) / np.float32(7)
        values = np.rint(groups / scales[..., None]).astype(np.int64).reshape(tensor.shape)
        base = name.removesuffix(".weight")
        packed[f"{base}.qweight"] = (values[:, ::2] + 8 + 16 * (values[:, 1::2] + 8)).astype(np.uint8)
        packed[f"{base}.scales"] = scales
        floats[name] = (values * np.repeat(scales, GROUP, axis=1)).astype(np.float32)
    directory = tmp_path_factory.mktemp("int4")
    oracle = oracle_of(tiny.write(directory / "floats", tiny.LLAMA, floats), tiny.CONTEXT)
    return Checkpoint(tiny.write(directory / "packed", tiny.LLAMA, packed), oracle)


def test_its_logits_are_those_of_the_floats(checkpoint: Checkpoint) -> None:
    leaves = load_weights(checkpoint.packed, DECODER, RULES, make_mesh(1), progress=False)
    assert sum(info.path.endswith(".halves") for info in DECODER.params) == 4  # of all layers
    found = dense.run(DECODER, leaves, np.asarray(PROMPTS[-1]))[:, : tiny.VOCAB]
    np.testing.assert_allclose(found, checkpoint.oracle.logits(PROMPTS[-1]), rtol=2e-4, atol=2e-4)


def test_it_is_served(checkpoint: Checkpoint) -> None:
    engine = tiny.build(checkpoint.packed, tiny.GREEDY, quantization="int4", max_num_batched_tokens=8)
    answers = run(engine, [ask(str(i), prompt, max_tokens=12) for i, prompt in enumerate(PROMPTS)])
    for i, prompt in enumerate(PROMPTS):
        checkpoint.oracle.assert_greedy(prompt, answers[str(i)].tokens)


def test_without_the_scheme_its_tensors_are_refused(checkpoint: Checkpoint) -> None:
    plain = build_decoder(REGISTRY.spec_from_config(tiny.LLAMA), dtype=np.float32)
    with pytest.raises(WeightError, match=r"qweight"):
        load_weights(checkpoint.packed, plain, RULES, make_mesh(1), progress=False)
