"""Granite 3 MoE: Granite with experts whose tensors are stacked, and in its shared form one MLP beside them."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import granite, llama
from jaxpaged.models.experts import Experts, Router, SharedExperts
from jaxpaged.models.hf_config import activation_of, given, need
from jaxpaged.models.spec import DecoderSpec, GatedMLP
from jaxpaged.models.weight_rules import Rule, WeightRules

BLOCK, TARGET = "model.layers.{i}.block_sparse_moe", "layers.{i}.ffn"
SHARED = "model.layers.{i}.shared_mlp"
WEIGHTS = WeightRules(
    (
        *llama.RULES,
        Rule(f"{BLOCK}.router.layer.weight", f"{TARGET}.router.weight"),
        Rule(f"{BLOCK}.input_linear.weight", f"{TARGET}.expert_gate_up", transform="rows"),
        Rule(f"{BLOCK}.output_linear.weight", f"{TARGET}.expert_down"),
        Rule(f"{SHARED}.input_linear.weight", f"{TARGET}.shared.gate_up", transform="rows"),
        Rule(f"{SHARED}.output_linear.weight", f"{TARGET}.shared.down"),
    ),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)


def spec_from_hf(config: Config) -> DecoderSpec:
    router = Router(given(config, "num_local_experts", 8), given(config, "num_experts_per_tok", 2))
    activation = activation_of(config, "hidden_act", "silu")
    size = given(config, "shared_intermediate_size", 0)
    shared = SharedExperts(GatedMLP(size, activation)) if size else None
    experts = Experts(router, need(config, "intermediate_size"), activation, shared=shared)
    return granite.spec_from_hf(config).with_ffn(experts)


def _family(name: str, model_type: str, *keys: str) -> Architecture:
    return Architecture(
        names=(name,),
        model_type=model_type,
        spec_from_hf=spec_from_hf,
        weights=WEIGHTS,
        used_keys=granite.ARCHITECTURE.used_keys - {"mlp_bias"} | {"num_experts_per_tok", "num_local_experts", *keys},
    )


ARCHITECTURE = _family("GraniteMoeForCausalLM", "granitemoe")
SHARED_ARCHITECTURE = _family("GraniteMoeSharedForCausalLM", "granitemoeshared", "shared_intermediate_size")
ARCHITECTURES = (ARCHITECTURE, SHARED_ARCHITECTURE)
