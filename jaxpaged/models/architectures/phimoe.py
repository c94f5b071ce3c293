"""Phi-3.5-MoE: Mixtral with LayerNorms, biases everywhere, long rope, and a router that weighs each choice apart."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama, mixtral
from jaxpaged.models.experts import Experts, Router
from jaxpaged.models.hf_config import activation_of, given, need, window_of
from jaxpaged.models.spec import DecoderSpec, LayerNorm, PreNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

WEIGHTS = WeightRules(
    (*mixtral.WEIGHTS.rules, Rule("lm_head.bias", "head.bias")), prefix="model.", ignored=llama.WEIGHTS.ignored
)


def spec_from_hf(config: Config) -> DecoderSpec:
    router = Router(
        given(config, "num_local_experts", 16),
        given(config, "num_experts_per_tok", 2),
        scores="sparsemixer",
        jitter=given(config, "router_jitter_noise", 0.01),
    )
    experts = Experts(router, need(config, "intermediate_size"), activation_of(config, "hidden_act", "silu"))
    spec = llama.spec_from_hf(config).with_mixers(window=window_of(config)).with_ffn(experts)
    norm = LayerNorm(given(config, "rms_norm_eps", 1e-5))
    return dataclasses.replace(
        spec,
        layers=tuple(dataclasses.replace(layer, residual=PreNorm(norm)) for layer in spec.layers),
        final_norm=norm,
        head=dataclasses.replace(spec.head, bias=given(config, "lm_head_bias", False)),
    )


ARCHITECTURE = Architecture(
    names=("PhimoeForCausalLM", "PhiMoEForCausalLM"),
    model_type="phimoe",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS
    | {
        "attention_bias",
        "lm_head_bias",
        "num_experts_per_tok",
        "num_local_experts",
        "router_jitter_noise",
        "sliding_window",
    },
    ignored_keys=frozenset({"input_jitter_noise"}),
)
