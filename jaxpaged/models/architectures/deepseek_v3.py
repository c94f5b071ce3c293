"""DeepSeek V3, R1 and Kimi K2: latent attention, and from some layer on experts that are chosen within groups."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import latent
from jaxpaged.models.expert_config import GROUPED_KEYS, after_dense_layers, experts_of, grouped_router
from jaxpaged.models.expert_rules import CORRECTION, expert_rules, shared_rules
from jaxpaged.models.hf_config import given
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import WeightRules

WEIGHTS = WeightRules(
    (*latent.RULES, *expert_rules(), CORRECTION, *shared_rules("shared_experts")),
    prefix="model.",
    ignored=latent.WEIGHTS.ignored,
    further_layers="model.layers.{i}.",
)
EXPERT_KEYS = GROUPED_KEYS | {"first_k_dense_replace", "n_routed_experts", "n_shared_experts"}
DEFAULT_DENSE, DEFAULT_SHARED = 3, 1  # layers without experts; experts for every token
# The layers behind the last, which predict several tokens at once, are not read.
IGNORED = latent.IGNORED | {"num_mtp_layers", "num_nextn_predict_layers"}


def spec_from_hf(config: Config) -> DecoderSpec:
    spec = latent.latent_spec(config, latent.interleaved_latent_of(config))
    router, shared = grouped_router(config, "n_routed_experts"), given(config, "n_shared_experts", DEFAULT_SHARED)
    dense = given(config, "first_k_dense_replace", DEFAULT_DENSE)
    return after_dense_layers(spec, experts_of(config, router, shared), dense)


ARCHITECTURE = Architecture(
    names=("DeepseekV3ForCausalLM",),
    model_type="deepseek_v3",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=latent.KEYS | EXPERT_KEYS | {"rope_interleave"},
    ignored_keys=IGNORED,
    fixed_keys={"moe_layer_freq": 1, "scoring_func": "sigmoid", "topk_method": "noaux_tc"},
)
