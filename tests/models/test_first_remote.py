"""Baichuan, ChatGLM, DeciLM and Qwen 1 against numpy; Aquila, InternLM and Yi, which are Llama in other clothes."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.registry import ARCHITECTURES, find_architecture, spec_from_config
from jaxpaged.models.spec import DecoderSpec, Parallel
from tests.models.case import LONGEST, PROMPT_LEN
from tests.models.cases import CASE
from tests.models.references import baichuan, chatglm, decilm, qwen
from tests.models.remote_cases import FIRST_REMOTE, REMOTE_CASE
from tests.models.remote_code import RemoteCase
from tests.models.test_parity import TOLERANCE
from tests.models.test_weight_rules import plan, tensors_of

REFERENCES = {"baichuan": baichuan, "chatglm": chatglm, "deci": decilm, "qwen": qwen}
REMOTE = {
    case.name: RemoteCase(case, reference.shapes, reference.logits)
    for case in FIRST_REMOTE
    if (reference := REFERENCES.get(case.config["model_type"]))
}
# Its vocabulary tells Baichuan 2; it is too large to continue greedily here.
BAICHUAN_2 = REMOTE.pop("baichuan_2")


def assert_equal(served: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(served - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", REMOTE)
def test_logits_and_greedy_tokens_equal_those_of_the_reference(name: str) -> None:
    tokens, expected = REMOTE[name].continued()
    served = REMOTE[name].served(tokens)
    assert_equal(served, expected)
    assert served[PROMPT_LEN - 1 : -1].argmax(-1).tolist() == tokens[PROMPT_LEN:].tolist()


def _long_rows(spec: DecoderSpec) -> DecoderSpec:
    return dataclasses.replace(spec, head=dataclasses.replace(spec.head, unit_rows=False))


def test_baichuan_2_has_a_head_of_unit_rows() -> None:
    tokens = np.arange(1, 9)
    expected = BAICHUAN_2.reference(tokens)
    assert_equal(BAICHUAN_2.served(tokens), expected)
    with pytest.raises(AssertionError):
        assert_equal(BAICHUAN_2.served(tokens, _long_rows), expected)


@pytest.mark.parametrize("name", ["AquilaForCausalLM", "AquilaModel", "LLaMAForCausalLM", "YiForCausalLM"])
def test_what_differs_from_llama_in_its_name_only(name: str) -> None:
    config = CASE["llama"].config
    kind = name.removesuffix("ForCausalLM").removesuffix("Model")
    renamed = {**config, "architectures": [name], "model_type": kind}
    assert spec_from_config(renamed) == spec_from_config(config)
    assert find_architecture(renamed) is ARCHITECTURES["LlamaForCausalLM"]


def test_yi_has_other_names_for_its_norms() -> None:
    names = {"input_layernorm": "ln1", "post_attention_layernorm": "ln2"}
    tensors = tensors_of("llama")
    for usual, other in names.items():
        tensors = {name.replace(usual, other): info for name, info in tensors.items()}
    sources = {name for piece in plan("llama", tensors).slices for name in piece.sources}
    assert sources == tensors.keys()


@pytest.mark.parametrize("bias", [True, False])
def test_internlm_is_llama_with_a_bias(bias: bool) -> None:
    config = {**REMOTE_CASE["internlm"].config, "bias": bias}
    llama = {**CASE["llama"].config, "attention_bias": bias}
    assert spec_from_config(config) == spec_from_config(llama)
    with pytest.raises(UnsupportedModelError, match="rotary="):
        spec_from_config({**config, "rotary": {"base": 50000, "type": "dynamic"}})


def test_refined_web_is_falcon_in_its_first_spelling() -> None:
    config, falcon = REMOTE_CASE["refined_web"].config, CASE["falcon_grouped"].config
    assert spec_from_config(config) == spec_from_config({**falcon, "ffn_hidden_size": None})
    old = {**falcon, "ffn_hidden_size": None, "new_decoder_architecture": False}
    assert spec_from_config({**config, "n_head_kv": None}) == spec_from_config(old)


def test_falcon_11b_has_one_norm() -> None:
    spec = spec_from_config({**CASE["falcon_grouped"].config, "num_ln_in_parallel_attn": 1})
    assert spec.layers[0].residual == Parallel(spec.final_norm)


def test_stablelm_epoch_is_stablelm_in_its_first_spelling() -> None:
    assert spec_from_config(REMOTE_CASE["stablelm_epoch"].config) == spec_from_config(CASE["stablelm"].config)


@pytest.mark.parametrize(
    ("name", "changes", "longest"),
    [
        ("qwen", {}, LONGEST),
        ("qwen", {"use_dynamic_ntk": False}, LONGEST),
        ("qwen", {"use_dynamic_ntk": False, "use_logn_attn": False}, 8 * LONGEST),
        ("baichuan_alibi", {}, LONGEST),
    ],
)
def test_the_longest_context(name: str, changes: dict[str, Any], longest: int) -> None:
    """Of Qwen the trained length, beyond which it would attend and rotate in another way."""
    assert spec_from_config({**REMOTE[name].case.config, **changes}).max_position == longest


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("decilm", {"num_key_value_heads_per_layer": [4, 2]}, "a number for each of the 3 layers; it has 2"),
        ("decilm", {"block_configs": [{"attention": {"no_op": True}}]}, "sets block_configs="),
        ("chatglm", {"position_encoding_2d": True}, "position_encoding_2d=True"),
        ("chatglm", {"rmsnorm": False}, "rmsnorm=False"),
        ("chatglm", {"pre_seq_len": 128}, "pre_seq_len=128"),
        ("qwen", {"no_bias": False}, "no_bias=False"),
        ("qwen", {"rotary_pct": 0.5}, "rotary_pct=0.5"),
        ("baichuan_alibi", {"model_max_length": None}, "lacks model_max_length"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        spec_from_config({**REMOTE[name].case.config, **changes})
