"""FlexOlmo: OLMo 2 with OLMoE's experts."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import gemma2, llama, olmo, olmoe
from jaxpaged.models.expert_rules import expert_rules
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import WeightRules

WEIGHTS = WeightRules((*gemma2.WEIGHTS.rules, *expert_rules()), prefix="model.", ignored=gemma2.WEIGHTS.ignored)


def spec_from_hf(config: Config) -> DecoderSpec:
    return olmoe.with_experts(olmo.olmo2_spec(config), config)


ARCHITECTURE = Architecture(
    names=("FlexOlmoForCausalLM",),
    model_type="flex_olmo",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS | olmoe.EXPERT_KEYS | {"attention_bias"},
)
