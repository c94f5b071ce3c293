"""Orion: Llama with layer norms."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given
from jaxpaged.models.spec import DecoderSpec, LayerNorm, PreNorm


def spec_from_hf(config: Config) -> DecoderSpec:
    norm = LayerNorm(given(config, "rms_norm_eps", 1e-5))
    spec = llama.spec_from_hf(config).with_layers(residual=PreNorm(norm))
    return dataclasses.replace(spec, final_norm=norm)


ARCHITECTURE = Architecture(
    names=("OrionForCausalLM",),
    model_type="orion",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {"attention_bias"},
    ignored_keys=frozenset({"pretraining_tp"}),
)
