"""Every family against transformers: float32 logits, and 32 greedy tokens."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.decoder.functional import build_decoder
from jaxpaged.models.registry import ARCHITECTURES, find_architecture, spec_from_config
from tests.models.case import PROMPT_LEN, Case, Golden, load_golden, make_weights
from tests.models.cases import CASE, CASES, COMPARED
from tests.models.dense import assemble, run

TOLERANCE = 1e-4  # of the largest logit
NOT_AUTOMATIC = ("Mistral4ForCausalLM",)  # classes of transformers that its AutoModelForCausalLM does not know


def logits_and_golden(case: Case, **options: object) -> tuple[np.ndarray, Golden]:
    golden = load_golden(case)
    decoder = build_decoder(spec_from_config(case.config), dtype=jnp.float32, **options)
    leaves = assemble(find_architecture(case.config).weights, decoder, make_weights(case, golden.tensors))
    return run(decoder, leaves, golden.tokens), golden


def assert_parity(logits: np.ndarray, golden: Golden) -> None:
    vocab = golden.logits.shape[1]
    error = np.abs(logits[golden.positions, :vocab] - golden.logits).max() / np.abs(golden.logits).max()
    assert error <= TOLERANCE
    # Each token follows from the reference's tokens before it, so equality here is equality of greedy decoding.
    assert logits[PROMPT_LEN - 1 : -1].argmax(-1).tolist() == golden.continuation
    assert np.isneginf(logits[:, vocab:]).all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_logits_and_greedy_tokens_equal_those_of_transformers(case: Case) -> None:
    assert_parity(*logits_and_golden(case))


@pytest.mark.parametrize(
    "name", ["gemma3", "bloom", "llama_mqa_bias", "olmo2", "cohere", "apertus", "stablelm_parallel", "minicpm3"]
)
def test_heads_and_sizes_padded_for_tensor_parallelism_change_nothing(name: str) -> None:
    assert_parity(*logits_and_golden(CASE[name], tensor_parallel=8))


@pytest.mark.parametrize("layer_loop", ["unroll", "switch"])
@pytest.mark.parametrize("name", ["gemma3", "qwen2", "minicpm3"])
def test_every_layer_loop_gives_the_same(name: str, layer_loop: str) -> None:
    assert_parity(*logits_and_golden(CASE[name], layer_loop=layer_loop))


def test_every_family_that_transformers_has_is_compared_with_it() -> None:
    """Another one brings a reference of its own, in the test that serves it."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    automatic = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values(), *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values()}
    assert ARCHITECTURES.keys() & {*automatic, *NOT_AUTOMATIC} == COMPARED
