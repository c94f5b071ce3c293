"""Hunyuan-A13B: Hunyuan with experts in every layer, and an MLP of the same width beside them."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import hunyuan, llama
from jaxpaged.models.expert_config import every_layer
from jaxpaged.models.expert_rules import expert_rules, shared_rules
from jaxpaged.models.experts import Experts, Router, SharedExperts
from jaxpaged.models.hf_config import activation_of, need, need_one
from jaxpaged.models.spec import DecoderSpec, GatedMLP
from jaxpaged.models.weight_rules import WeightRules

WEIGHTS = WeightRules(
    (*hunyuan.WEIGHTS.rules, *expert_rules(router="gate.wg"), *shared_rules("shared_mlp")),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)


def spec_from_hf(config: Config) -> DecoderSpec:
    size, activation = need(config, "intermediate_size"), activation_of(config, "hidden_act", "silu")
    count = need_one(config, "num_experts", "num_local_experts")
    router = Router(count, every_layer("moe_topk", need(config, "moe_topk")))
    experts = Experts(router, size, activation, shared=SharedExperts(GatedMLP(size, activation)))
    return hunyuan.spec_from_hf(config).with_ffn(experts)


ARCHITECTURE = Architecture(
    names=("HunYuanMoEV1ForCausalLM",),
    model_type="hunyuan_v1_moe",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=hunyuan.ARCHITECTURE.used_keys | {"moe_topk", "num_experts", "num_local_experts"},
    ignored_keys=hunyuan.ARCHITECTURE.ignored_keys,
)
