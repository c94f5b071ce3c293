"""Command R: attention and MLP side by side behind one norm without bias. Command R7B and A: windows in most layers."""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given, head_dim_of, layer_types_of, rope_of, window_of, windowed_types
from jaxpaged.models.spec import DecoderSpec, Head, LayerNorm, Parallel

DEFAULT_THETA, DEFAULT_LOGIT_SCALE = 500_000.0, 0.0625
DEFAULT_WINDOW, DEFAULT_PATTERN = 4096, 4


def cohere_spec(config: Config) -> DecoderSpec:
    spec = _parallel_spec(config)
    if not given(config, "use_qk_norm", False):
        return spec
    return spec.with_mixers(qk_norm=spec.final_norm, norm_each_head=True)


def cohere2_spec(config: Config) -> DecoderSpec:
    """Layers without a window have no positions either."""
    spec = _parallel_spec(config)
    pattern = given(config, "sliding_window_pattern", DEFAULT_PATTERN)
    window = window_of(config, DEFAULT_WINDOW)
    changes: dict[str, dict[str, Any]] = {"full_attention": {"position": None}, "sliding_attention": {"window": window}}
    return spec.with_each_mixer(changes[kind] for kind in layer_types_of(config, windowed_types(config, pattern)))


def _parallel_spec(config: Config) -> DecoderSpec:
    dim, norm = head_dim_of(config), LayerNorm(given(config, "layer_norm_eps", 1e-5), bias=False)
    spec = llama.llama_spec(config, dim, rope_of(config, dim, theta=DEFAULT_THETA, pairs="adjacent"))
    scale = given(config, "logit_scale", DEFAULT_LOGIT_SCALE)
    return dataclasses.replace(
        spec.with_layers(residual=Parallel(norm)),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", True), scale=scale),
    )


KEYS = (llama.KEYS - {"rms_norm_eps"}) | {"attention_bias", "layer_norm_eps", "logit_scale"}
ARCHITECTURES = (
    Architecture(
        names=("CohereForCausalLM",),
        model_type="cohere",
        spec_from_hf=cohere_spec,
        weights=llama.WEIGHTS,
        used_keys=KEYS | {"use_qk_norm"},
    ),
    Architecture(
        names=("Cohere2ForCausalLM",),
        model_type="cohere2",
        spec_from_hf=cohere2_spec,
        weights=llama.WEIGHTS,
        used_keys=KEYS | {"layer_types", "sliding_window", "sliding_window_pattern"},
        # What these files say of the form that the family always has.
        ignored_keys=frozenset({"position_embedding_type", "rotary_pct"}),
        fixed_keys={"use_parallel_block": True, "use_qk_norm": False},
    ),
)
