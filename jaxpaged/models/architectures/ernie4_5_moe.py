"""ERNIE 4.5 with experts: adjacent rotary pairs, experts in an interval of layers, corrected softmax scores."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.expert_config import experts_of
from jaxpaged.models.expert_rules import BLOCK, expert_rules, shared_rules
from jaxpaged.models.experts import Router
from jaxpaged.models.hf_config import given, head_dim_of, need, rope_of
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import Rule, WeightRules

WEIGHTS = WeightRules(
    (
        *llama.RULES,
        *expert_rules(),
        Rule(f"{BLOCK}.moe_statics.e_score_correction_bias", "layers.{i}.ffn.router.correction", transform="one_row"),
        *shared_rules("shared_experts"),
    ),
    prefix="model.",
    ignored=(*llama.WEIGHTS.ignored, r"model\.mtp_"),
)
KEYS = frozenset(
    {
        "moe_intermediate_size",
        "moe_k",
        "moe_layer_end_index",
        "moe_layer_interval",
        "moe_layer_start_index",
        "moe_num_experts",
        "moe_num_shared_experts",
    }
)


def spec_from_hf(config: Config) -> DecoderSpec:
    rope = rope_of(config, head_dim_of(config), pairs="adjacent")
    spec = llama.spec_from_hf(config).with_mixers(position=rope)
    router = Router(need(config, "moe_num_experts"), need(config, "moe_k"), correction_bias=True)
    experts = experts_of(config, router, given(config, "moe_num_shared_experts", 0))
    return spec.with_ffn(experts, _sparse_layers(config, len(spec.layers)))


def _sparse_layers(config: Config, count: int) -> list[int]:
    first, last = given(config, "moe_layer_start_index", 1), given(config, "moe_layer_end_index", -1)
    every = given(config, "moe_layer_interval", 1)
    return [i for i in range(first, (last if last >= 0 else count - 1) + 1) if (i + 1) % every == 0]


ARCHITECTURE = Architecture(
    names=("Ernie4_5_MoeForCausalLM", "Ernie4_5_MoEForCausalLM"),
    model_type="ernie4_5_moe",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS | KEYS,
    ignored_keys=frozenset({"moe_norm_min"}),
    fixed_keys={"use_bias": False},
)
