"""GLM-4.5 to 4.7: partial rotary positions, optional norms of heads, and experts chosen as DeepSeek-V3 does."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.expert_config import GROUPED_KEYS, after_dense_layers, experts_of, grouped_router
from jaxpaged.models.expert_rules import CORRECTION, expert_rules, shared_rules
from jaxpaged.models.hf_config import given, head_dim_of, rope_of
from jaxpaged.models.spec import DecoderSpec, RMSNorm
from jaxpaged.models.weight_rules import WeightRules

DEFAULT_SHARE = 0.5  # of a head's dimensions that are rotated
WEIGHTS = WeightRules(
    (*llama.RULES, *expert_rules(), CORRECTION, *shared_rules("shared_experts")),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)


def spec_from_hf(config: Config) -> DecoderSpec:
    norm = RMSNorm(given(config, "rms_norm_eps", 1e-5)) if given(config, "use_qk_norm", False) else None
    rope = rope_of(config, head_dim_of(config), rotated=DEFAULT_SHARE)
    spec = llama.spec_from_hf(config).with_mixers(out_bias=False, qk_norm=norm, position=rope)
    experts = experts_of(config, grouped_router(config, "n_routed_experts"), given(config, "n_shared_experts", 1))
    return after_dense_layers(spec, experts, given(config, "first_k_dense_replace", 1))


ARCHITECTURE = Architecture(
    names=("Glm4MoeForCausalLM",),
    model_type="glm4_moe",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS
    | GROUPED_KEYS
    | {
        "attention_bias",
        "first_k_dense_replace",
        "n_routed_experts",
        "n_shared_experts",
        "partial_rotary_factor",
        "use_qk_norm",
    },
    ignored_keys=frozenset({"num_mtp_layers", "num_nextn_predict_layers"}),
)
