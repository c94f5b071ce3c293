"""Mixtral: Mistral with eight experts in each layer, two of them for each token."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.expert_rules import expert_rules
from jaxpaged.models.experts import Experts, Router
from jaxpaged.models.hf_config import activation_of, given, need, window_of
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import WeightRules

WEIGHTS = WeightRules(
    (*llama.RULES, *expert_rules("model.layers.{i}.block_sparse_moe", parts=("w1", "w3", "w2"))),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)


def spec_from_hf(config: Config) -> DecoderSpec:
    router = Router(given(config, "num_local_experts", 8), given(config, "num_experts_per_tok", 2))
    experts = Experts(router, need(config, "intermediate_size"), activation_of(config, "hidden_act", "silu"))
    return llama.spec_from_hf(config).with_mixers(window=window_of(config)).with_ffn(experts)


ARCHITECTURE = Architecture(
    names=("MixtralForCausalLM",),
    model_type="mixtral",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS | {"num_experts_per_tok", "num_local_experts", "sliding_window"},
    ignored_keys=frozenset({"router_jitter_noise"}),
)
