"""Nemotron and Minitron: layer norms around zero, squared ReLU without a gate, half of each head rotated."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import activation_of, given, head_dim_of, need, rope_of
from jaxpaged.models.spec import MLP, DecoderSpec, LayerNorm, PreNorm

ROTATED = 0.5


def spec_from_hf(config: Config) -> DecoderSpec:
    dim = head_dim_of(config)
    norm = LayerNorm(given(config, "norm_eps", 1e-5), offset=1.0)
    activation = activation_of(config, "hidden_act", "relu2")
    ffn = MLP(need(config, "intermediate_size"), activation, given(config, "mlp_bias", False))
    spec = llama.llama_spec(config, dim, rope_of(config, dim, rotated=ROTATED))
    return dataclasses.replace(spec.with_layers(ffn=ffn, residual=PreNorm(norm)), final_norm=norm)


ARCHITECTURE = Architecture(
    names=("NemotronForCausalLM",),
    model_type="nemotron",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=(llama.KEYS - {"rms_norm_eps"}) | {"attention_bias", "mlp_bias", "norm_eps", "partial_rotary_factor"},
)
