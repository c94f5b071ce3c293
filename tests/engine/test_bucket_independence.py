"""Invariant 2 across buckets, in both precisions: sums in norms, attention, products and sampler change their size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import EngineRequest
from jaxpaged.sampling.variant import Variant
from tests.engine import tiny
from tests.engine.drive import Answers, ask, preemptions, rescheduled, run
from tests.models.cases import CASE

VOCAB = 131
REQUESTS = 40
# Wide enough that the small buckets' norms have fewer, and the large ones' more, elements than XLA:CPU's threshold.
WIDE = {"hidden_size": 96, "num_attention_heads": 6, "num_hidden_layers": 2, "layer_types": None}
MODELS: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "qwen3 float32": ("qwen3", WIDE, "float32"),
    "gemma3 bfloat16": ("gemma3", {**WIDE, "sliding_window_pattern": 2}, "bfloat16"),
    "bloom float32": ("bloom", {"hidden_size": 96}, "float32"),
    "mixtral bfloat16": ("mixtral", WIDE, "bfloat16"),
}


@pytest.fixture(scope="module", params=MODELS)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Steps of 8 to 64 tokens and sequences; random weights."""
    case, changes, dtype = MODELS[request.param]
    directory = tmp_path_factory.mktemp(case)
    config = {key: value for key, value in {**CASE[case].config, **changes}.items() if value is not None}
    (directory / "config.json").write_text(json.dumps(config))
    return tiny.build(
        directory,
        (Variant.GREEDY, Variant.LOGPROBS),
        load_format="dummy",
        dtype=dtype,
        max_num_batched_tokens=64,
        max_num_seqs=64,
        num_gpu_blocks_override=256,
        max_model_len=96,
    )


def messages() -> list[EngineRequest]:
    """Prompts of 1 to 60 tokens, two thirds of them with a page in common; greedy, seeded and scored."""
    rng = np.random.default_rng(0)
    shared = rng.integers(0, VOCAB, 20).tolist()
    params: list[dict[str, Any]] = [
        {"logprobs": 3},
        {"temperature": 1.0, "seed": 1, "top_p": 0.9, "logprobs": 0},
        {"prompt_logprobs": 1},
    ]
    made = []
    for i in range(REQUESTS):
        prompt = rng.integers(0, VOCAB, rng.integers(1, 40)).tolist()
        made.append(ask(str(i), shared + prompt if i % 3 else prompt, max_tokens=12, **params[i % 3]))
    return made


@pytest.fixture(scope="module")
def alone(engine: Engine) -> Answers:
    """One after the other in the smallest buckets: chunks of 8, decodes of one row."""
    one_by_one = rescheduled(engine, caching=False, depth=1, max_num_seqs=8, max_num_batched_tokens=8)
    answers: Answers = {}
    for message in messages():
        answers |= run(one_by_one, [message])
    return answers


@pytest.mark.parametrize(
    "options",
    [
        {"caching": False},
        {"caching": False, "max_num_batched_tokens": 24, "max_num_seqs": 24},
        {"caching": True},
        {"caching": False, "pages": 24},
        {"caching": True, "pages": 24, "depth": 3},
    ],
    ids=lambda options: " ".join(f"{name}={value}" for name, value in options.items()),
)
def test_tokens_and_logprobs_are_the_same_bits(engine: Engine, alone: Answers, options: dict[str, Any]) -> None:
    together = rescheduled(engine, **options)
    for _ in range(2 if options["caching"] else 1):
        answers = run(together, messages())
        for name, answer in answers.items():
            assert answer.content == alone[name].content, name
    assert bool(preemptions(together)) == ("pages" in options)
    assert bool(together.stats().prefix_cache_hits) == options["caching"]
