"""Retention in the real engine: tokens are those of the formula over whole sequences, in plain numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.architectures import retnet
from jaxpaged.models.registry import REGISTRY
from tests.engine import tiny
from tests.engine.drive import ask, preemptions, rescheduled, run

HEADS, DIM, HIDDEN, PAGE = 4, 8, 32, 4
CONFIG = {**tiny.LLAMA, "architectures": list(retnet.ARCHITECTURE.names)}
LENGTHS = (1, 4, 5, 17, 40)


@pytest.fixture(scope="module")
def tensors() -> tiny.Tensors:
    shapes = {name: shape for name, shape in tiny.llama_shapes(CONFIG).items() if "self_attn" not in name}
    names = [rule.source.format(i=i) for rule in retnet.RETENTION_RULES for i in range(CONFIG["num_hidden_layers"])]
    return tiny.random_tensors(shapes | dict.fromkeys(names, (HIDDEN, HIDDEN)), seed=5)


@pytest.fixture(scope="module")
def engine(tensors: tiny.Tensors, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """On two devices, so that the heads are split."""
    directory = tiny.write(tmp_path_factory.mktemp("retnet"), CONFIG, tensors)
    return tiny.build(directory, tiny.GREEDY, block_size=PAGE, max_num_batched_tokens=16, tensor_parallel_size=2)


def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5) * weight


def retention(x: np.ndarray, weights: tiny.Tensors, layer: str) -> np.ndarray:
    q, k, v = (
        (x @ weights[f"{layer}.{name}_proj.weight"].T).reshape(-1, HEADS, DIM) for name in ("query", "key", "value")
    )
    distance = np.arange(len(x))[:, None] - np.arange(len(x))
    out = np.zeros_like(v)
    for head in range(HEADS):
        decay = 1 - 2.0 ** -(2 + head)
        seen = np.where(distance >= 0, decay ** np.maximum(distance, 0), 0)
        out[:, head] = (seen * (q[:, head] @ k[:, head].T) * DIM**-0.5) @ v[:, head]
    return out.reshape(len(x), -1) @ weights[f"{layer}.out_proj.weight"].T


def logits(tokens: Sequence[int], weights: tiny.Tensors) -> np.ndarray:
    """[t, vocab], float64."""
    x = weights["model.embed_tokens.weight"][list(tokens)].astype(np.float64)
    for i in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{i}"
        x = x + retention(norm(x, weights[f"{at}.input_layernorm.weight"]), weights, f"{at}.retention")
        inner = norm(x, weights[f"{at}.post_attention_layernorm.weight"])
        gate, up = (inner @ weights[f"{at}.mlp.{name}_proj.weight"].T for name in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[f"{at}.mlp.down_proj.weight"].T
    return norm(x, weights["model.norm.weight"]) @ weights["lm_head.weight"].T


def prompt(length: int) -> list[int]:
    return [(7 * i * i + 3 * length) % tiny.VOCAB for i in range(length)]


def check(view: Engine, tensors: tiny.Tensors, prompts: Sequence[Sequence[int]]) -> None:
    """All at once, each with the tokens that it has on its own."""
    answers = run(view, [ask(str(i), tokens, max_tokens=14) for i, tokens in enumerate(prompts)])
    for i, tokens in enumerate(prompts):
        answer = answers[str(i)].tokens
        best = logits([*tokens, *answer], tensors).argmax(axis=1)
        assert answer == best[len(tokens) - 1 : -1].tolist()


@pytest.mark.parametrize("depth", [1, 3])
def test_batch_mates_get_their_own_tokens(engine: Engine, tensors: tiny.Tensors, depth: int) -> None:
    check(rescheduled(engine, depth=depth), tensors, [prompt(n) for n in LENGTHS])


def test_a_stored_state_serves_a_prefix_hit(engine: Engine, tensors: tiny.Tensors) -> None:
    view = rescheduled(engine)
    check(view, tensors, [prompt(40)])
    assert view.stats().prefix_cache_hits == 0
    check(view, tensors, [[*prompt(40), 5, 6, 7], prompt(17)])
    assert view.stats().prefix_cache_hits == 40


def test_with_few_pages_requests_are_preempted_and_still_answer(engine: Engine, tensors: tiny.Tensors) -> None:
    view = rescheduled(engine, pages=13)
    check(view, tensors, [[5 * i + 1, 7 * i + 2, 3] for i in range(8)])
    assert preemptions(view) > 0


def test_what_it_does_not_know_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"use_gate=True.*ToyRetNetForCausalLM"):
        REGISTRY.spec_from_config({**CONFIG, "use_gate": True})
