"""Keys of config.json that a family does not read: those that change the arithmetic are refused, the others are not."""

from __future__ import annotations

from typing import Any

import pytest

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.config_keys import COMMON_KEYS, DECISIVE_KEYS
from jaxpaged.models.registry import ARCHITECTURES, find_architecture, spec_from_config
from tests.models.cases import CASE, CASES, COMPARED
from tests.models.published import PUBLISHED

# What trainers, converters and older versions of transformers leave in published files.
LEFT_BEHIND: dict[str, Any] = {
    "_num_labels": 1,
    "_sample_key": "x",
    "attn_implementation": "flash_attention_2",
    "axolotl_config": {"sequence_len": 4096},
    "bad_words_ids": [[5]],
    "begin_suppress_tokens": None,
    "cross_attention_hidden_size": None,
    "diversity_penalty": 0.0,
    "do_sample": True,
    "early_stopping": False,
    "ep_size": 1,
    "eos_token": "</s>",
    "internal_version": 3,
    "is_llama_config": True,
    "keys_to_ignore_at_inference": ["past_key_values"],
    "max_length": 20,
    "max_sequence_length": 4096,
    "max_seq_len": 2048,
    "model_max_length": 4096,
    "neftune_noise_alpha": 5,
    "num_beams": 1,
    "output_projection": True,
    "pretraining_tp": 1,
    "quantization_config": {},
    "rope_interleaved": False,
    "seq_len": 4096,
    "sliding_window_size": 4096,
    "suppress_tokens": None,
    "temperature": 0.7,
    "tf_legacy_loss": False,
    "tokenizer_model_max_length": 4096,
    "tokenizer_padding_side": "right",
    "top_k": 50,
    "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}},
    "unsloth_version": "2025.1.5",
    "use_bfloat16": False,
    "use_cache": False,
    "use_flash_attention_2": True,
    "use_gradient_checkpointing": True,
    "vocab_size_in_use": 131,
    "world_size": 8,
}
REFUSED: dict[str, Any] = {
    "alibi": True,
    "attention_chunk_size": 8192,
    "clip_qkv": 8.0,
    "dual_chunk_attention_config": {"chunk_size": 262144, "notes": "x" * 5000},
    "embedding_multiplier": 12.0,
    "final_logit_softcapping": 30.0,
    "is_causal": False,
    "logit_scale": 0.0625,
    "mup_width_scale": 0.25,
    "parallel_residual": True,
    "partial_rotary_factor": 0.5,
    "position_embedding_type": "nope",
    "qk_norm": True,
    "rope_interleaved": True,
    "sandwich_norm": True,
    "scale_emb": 12,
    "sliding_window": 16,
    "use_logn_attn": True,
}


@pytest.mark.parametrize("name", sorted(COMPARED))
def test_what_others_leave_in_a_file_refuses_nothing_and_can_be_named(name: str) -> None:
    ours = (case.config for case in CASES)
    config = next(dict(config) for config in (*PUBLISHED.values(), *ours) if config["architectures"] == [name])
    left = {key: value for key, value in LEFT_BEHIND.items() if key not in config}
    assert spec_from_config({**config, **left, "flux_capacity": None}) == spec_from_config(config)
    unknown = find_architecture(config).unknown_keys({**config, **left})
    assert {"internal_version", "max_length", "sliding_window_size"} <= set(unknown)
    assert not {"rope_interleaved", "use_cache", "suppress_tokens", "hidden_size"} & set(unknown)


@pytest.mark.parametrize("key", REFUSED)
def test_a_key_that_changes_the_arithmetic_is_refused_by_name(key: str) -> None:
    config = {**CASE["llama"].config, key: REFUSED[key]}
    with pytest.raises(
        UnsupportedModelError, match=rf"{key}=.*LlamaForCausalLM does not implement.*'{key}': None"
    ) as e:
        spec_from_config(config)
    assert len(str(e.value)) < 300
    assert not find_architecture(config).unknown_keys(config)


NEUTRAL = {
    "attention_chunk_size": 0,
    "clip_qkv": False,
    "is_causal": True,
    "layer_types": ["full_attention"] * 3,
    "logit_scale": 1.0,
    "partial_rotary_factor": 1.0,
    "position_embedding_type": "rope",
    "pruned_heads": {},
    "residual_multiplier": 1,
    "rope_interleaved": False,
    "sliding_window": 131072,
}


@pytest.mark.parametrize("key", NEUTRAL)
def test_the_same_key_at_the_value_that_changes_nothing_is_accepted(key: str) -> None:
    config = CASE["llama"].config
    assert spec_from_config({**config, key: NEUTRAL[key]}) == spec_from_config(config)


def test_a_window_that_is_switched_off_is_none() -> None:
    config = CASE["llama"].config
    off = {**config, "sliding_window": 16, "use_sliding_window": False, "max_window_layers": 2}
    assert spec_from_config(off) == spec_from_config(config)


def test_many_keys_make_a_short_sentence() -> None:
    with pytest.raises(UnsupportedModelError, match=r"and 14 more keys, which") as caught:
        spec_from_config({**CASE["llama"].config, **REFUSED})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", sorted(COMPARED))
def test_every_key_that_transformers_knows_of_a_family_is_decided(name: str) -> None:
    """Read, without a bearing, fixed to a value, or refused where it is not neutral: none by accident."""
    from transformers import CONFIG_MAPPING

    family = ARCHITECTURES[name]
    known = family.used_keys | family.ignored_keys | family.fixed_keys.keys() | COMMON_KEYS | DECISIVE_KEYS
    theirs = CONFIG_MAPPING[family.model_type]().to_dict()
    assert set(theirs) <= known
