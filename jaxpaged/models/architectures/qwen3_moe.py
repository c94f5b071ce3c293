"""Qwen 3 MoE: Qwen 3 with experts in most layers."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama, qwen2, qwen2_moe, qwen3
from jaxpaged.models.expert_rules import expert_rules
from jaxpaged.models.hf_config import given, window_of
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import WeightRules

WEIGHTS = WeightRules((*llama.RULES, *expert_rules()), prefix="model.", ignored=llama.WEIGHTS.ignored)


def spec_from_hf(config: Config) -> DecoderSpec:
    window = window_of(config, qwen2.DEFAULT_WINDOW)
    spec = qwen3.normed_heads(config).with_mixers(window=window if given(config, "use_sliding_window", False) else None)
    return qwen2_moe.with_experts(spec, config)


ARCHITECTURE = Architecture(
    names=("Qwen3MoeForCausalLM",),
    model_type="qwen3_moe",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS | qwen2_moe.EXPERT_KEYS | {"attention_bias", "sliding_window", "use_sliding_window"},
    ignored_keys=frozenset({"max_window_layers"}),
    fixed_keys={"use_qk_norm": True},
)
