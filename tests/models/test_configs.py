"""config.json -> DecoderSpec: both spellings, published forms, and refusals by name."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from jaxpaged.decoder.functional import build_decoder
from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.config_keys import COMMON_KEYS
from jaxpaged.models.hf_config import dtype_of
from jaxpaged.models.registry import ARCHITECTURES, spec_from_config
from jaxpaged.models.rope import LinearScaling, YarnScaling
from tests.models.case import Case
from tests.models.cases import CASE, CASES, COMPARED
from tests.models.foundation_cases import FOUNDATION
from tests.models.published import PARAMETERS, PUBLISHED, REMOTE_PARAMETERS, REMOTE_PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED | REMOTE_PUBLISHED)
def test_published_configs_are_understood(name: str) -> None:
    """The parameters add up to the published size, not counting the rows that pad the vocabulary."""
    spec = spec_from_config((PUBLISHED | REMOTE_PUBLISHED)[name])
    decoder = build_decoder(spec, dtype=jnp.bfloat16)
    padding = {"vocab": -spec.vocab_size % 64}
    sizes = (
        math.prod(n - padding.get(axis, 0) for n, axis in zip(i.shape, i.axes, strict=True)) for i in decoder.params
    )
    assert sum(sizes) / 1e6 == pytest.approx((PARAMETERS | REMOTE_PARAMETERS)[name], abs=0.6)


def test_every_one_of_the_first_architectures_has_a_published_config() -> None:
    """Of later ones scripts/check_configs.py reads the files that are at hand."""
    published = {name for config in PUBLISHED.values() for name in config["architectures"]}
    assert published >= {name for case in FOUNDATION for name in case.config["architectures"]}
    assert published <= COMPARED


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_transformers_5_makes_of_a_config_means_the_same(case: Case, tmp_path: Path) -> None:
    from transformers import AutoConfig

    path = tmp_path / "config.json"
    path.write_text(json.dumps(dict(case.config)))
    config = AutoConfig.from_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    rewritten = json.loads(path.read_text())
    assert "torch_dtype" not in rewritten
    assert dtype_of(rewritten) == dtype_of(case.config) == "float32"
    assert spec_from_config(rewritten) == spec_from_config(json.loads(config.to_json_string(use_diff=False)))
    assert spec_from_config(rewritten) == spec_from_config(case.config)


class Recording(Mapping[str, Any]):
    """A config that remembers which keys were asked for."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config, self.read = config, set[str]()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return self.config[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.config)

    def __len__(self) -> int:
        return len(self.config)


@pytest.mark.parametrize("name", sorted(COMPARED))
def test_a_key_that_counts_as_used_is_read(name: str) -> None:
    architecture = ARCHITECTURES[name]
    recordings = [Recording(case.config) for case in CASES if case.config["architectures"] == [name]]
    for recording in recordings:
        architecture.spec_from_hf(recording)
    assert architecture.used_keys <= set().union(*(recording.read for recording in recordings))
    assert not architecture.used_keys & (architecture.ignored_keys | COMMON_KEYS | set(architecture.fixed_keys))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llama", {"quantization_config": {"quant_method": "awq"}}, "quantized with awq, which is not read yet"),
        ("llama", {"hidden_act": "mish"}, "hidden_act='mish' is not implemented; known are gelu"),
        ("llama", {"rope_scaling": {"type": "spiral", "factor": 2.0}}, "rope type 'spiral'"),
        ("llama", {"rope_scaling": {"type": "linear"}}, "lacks factor"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0, "mrope_section": [1]}}, "mrope_section"),
        ("llama", {"hidden_size": None}, "lacks hidden_size"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention=True"),
        ("bloom", {"apply_residual_connection_post_layernorm": True}, "apply_residual_connection_post_layernorm"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
        ("qwen3", {"layer_types": ["full_attention"]}, "each of the 3 layers"),
        ("qwen3", {"layer_types": ["full_attention", "linear_attention", "full_attention"]}, "linear_attention"),
        ("opt", {"layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine=False"),
        ("qwen3_moe", {"use_qk_norm": False}, "use_qk_norm=False"),
        ("mpt", {"attn_config": {"qk_ln": True}}, "attn_config has qk_ln=True; implemented is False only"),
        ("mpt", {"attn_config": {"alibi": False}}, "attn_config has alibi=False; implemented is True only"),
        ("mpt", {"norm_type": "rmsnorm"}, "norm_type='rmsnorm' is not implemented"),
        ("mpt", {"no_bias": False}, "no_bias=False"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        spec_from_config({**CASE[name].config, **changes})


def test_an_unknown_architecture_is_named_with_those_we_have() -> None:
    with pytest.raises(UnsupportedModelError, match=r"MambaForCausalLM; supported are .*Bloom.*Qwen3ForCausalLM"):
        spec_from_config({"architectures": ["MambaForCausalLM"]})
    with pytest.raises(UnsupportedModelError, match="has no `architectures`"):
        spec_from_config({})


@pytest.mark.parametrize(
    ("scaling", "longest"),
    [
        ({"type": "linear", "factor": 2.0}, 8192),
        ({"type": "dynamic", "factor": 4.0}, 16384),
        ({"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 2048}, 16384),
        ({"rope_type": "default"}, 4096),
    ],
)
def test_the_longest_context_follows_the_scaling(scaling: dict[str, Any], longest: int) -> None:
    config = {**CASE["llama"].config, "max_position_embeddings": 4096, "rope_scaling": scaling}
    assert spec_from_config(config).max_position == longest


def test_what_other_rope_types_left_behind_is_not_read() -> None:
    left = {"type": "linear", "factor": 2.0, "low_freq_factor": 1.0, "beta_fast": 32, "short_factor": [1.0]}
    plain = {"type": "linear", "factor": 2.0}
    config = CASE["llama"].config
    assert spec_from_config({**config, "rope_scaling": left}) == spec_from_config({**config, "rope_scaling": plain})


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"torch_dtype": "torch.bfloat16"}, "bfloat16"),
        ({"dtype": None, "torch_dtype": "float16"}, "float16"),
        ({"dtype": "float32", "torch_dtype": "float16"}, "float32"),
        ({}, None),
    ],
)
def test_the_precision_in_every_spelling(config: dict[str, Any], name: str | None) -> None:
    assert dtype_of(config) == name


def test_yarn_infers_its_magnitude_from_mscale() -> None:
    scaling = {"type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 1.0, "beta_fast": 16}
    position = spec_from_config({**CASE["llama"].config, "rope_scaling": scaling}).layers[0].mixer.position
    assert position.scaling == YarnScaling(4.0, 128, beta_fast=16.0, attention_factor=1.0)


def test_gemma_3_scales_only_its_global_layers() -> None:
    layers = spec_from_config(CASE["gemma3"].config).layers
    assert [layer.mixer.position.scaling for layer in layers] == [None, None, LinearScaling(8.0), None]
    assert [layer.mixer.position.theta for layer in layers] == [1e4, 1e4, 1e6, 1e4]
