"""OLMo: norms without parameters. OLMo 2 and 3: norms behind the branches, and over all queries and keys of a token."""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import gemma2, llama
from jaxpaged.models.head_norms import AcrossHeads
from jaxpaged.models.hf_config import clip_of, given, head_dim_of, layer_types_of, rope_of, window_of, windowed_types
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import AfterNorm, DecoderSpec, LayerNorm, PreNorm, RMSNorm

OLMO_EPS, DEFAULT_EPS = 1e-5, 1e-5
DEFAULT_WINDOW, WINDOWS_OF, DEFAULT_THETA = 4096, 4, 500_000.0


def olmo_spec(config: Config) -> DecoderSpec:
    norm = LayerNorm(OLMO_EPS, weight=False, bias=False)
    spec = llama.spec_from_hf(config).with_mixers(clip_qkv=clip_of(config)).with_layers(residual=PreNorm(norm))
    return dataclasses.replace(spec, final_norm=norm)


def olmo2_spec(config: Config) -> DecoderSpec:
    return _after_norms(llama.spec_from_hf(config), config)


def olmo3_spec(config: Config) -> DecoderSpec:
    """The scaling of the positions is for the full layers only."""
    dim = head_dim_of(config)
    rope = rope_of(config, dim, layer_type="full_attention", theta=DEFAULT_THETA)
    changes: dict[str, dict[str, Any]] = {
        "full_attention": {"position": rope},
        "sliding_attention": {
            "position": _local_rope(config, rope),
            "window": window_of(config, DEFAULT_WINDOW),
        },
    }
    types = layer_types_of(config, windowed_types(config, WINDOWS_OF))
    spec = _after_norms(llama.llama_spec(config, dim, rope), config)
    return spec.with_each_mixer(changes[kind] for kind in types)


def _after_norms(spec: DecoderSpec, config: Config) -> DecoderSpec:
    eps = given(config, "rms_norm_eps", DEFAULT_EPS)
    norm = RMSNorm(eps)
    spec = spec.with_mixers(qk_norm=AcrossHeads(eps)).with_layers(residual=AfterNorm(norm))
    return dataclasses.replace(spec, final_norm=norm)


def _local_rope(config: Config, rope: Rope) -> Rope:
    if "sliding_attention" in given(config, "rope_parameters", {}):
        return rope_of(config, rope.dim, layer_type="sliding_attention", theta=DEFAULT_THETA)
    return dataclasses.replace(rope, scaling=None)


ARCHITECTURES = (
    Architecture(
        names=("OlmoForCausalLM",),
        model_type="olmo",
        spec_from_hf=olmo_spec,
        weights=llama.WEIGHTS,
        used_keys=(llama.KEYS - {"rms_norm_eps"}) | {"attention_bias", "clip_qkv"},
    ),
    Architecture(
        names=("Olmo2ForCausalLM",),
        model_type="olmo2",
        spec_from_hf=olmo2_spec,
        weights=gemma2.WEIGHTS,
        used_keys=llama.KEYS | {"attention_bias"},
    ),
    Architecture(
        names=("Olmo3ForCausalLM",),
        model_type="olmo3",
        spec_from_hf=olmo3_spec,
        weights=gemma2.WEIGHTS,
        used_keys=llama.KEYS | {"attention_bias", "layer_types", "sliding_window"},
    ),
)
