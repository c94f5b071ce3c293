"""K-EXAONE: norms of heads, windows with positions and full layers without, experts chosen as DeepSeek-V3 does."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import exaone4, glm4_moe
from jaxpaged.models.expert_config import GROUPED_KEYS, experts_of, grouped_router
from jaxpaged.models.hf_config import given
from jaxpaged.models.spec import DecoderSpec, PreNorm, RMSNorm


def spec_from_hf(config: Config) -> DecoderSpec:
    norm = RMSNorm(given(config, "rms_norm_eps", 1e-5))
    spec = exaone4.spec_from_hf(config).with_layers(residual=PreNorm(norm))
    router = grouped_router(config, "num_experts", "num_local_experts")
    experts = experts_of(config, router, given(config, "num_shared_experts", 1))
    dense = given(config, "first_k_dense_replace", 1)
    kinds = given(config, "mlp_layer_types", ["dense"] * dense + ["sparse"] * (len(spec.layers) - dense))
    return spec.with_ffn(experts, [i for i, kind in enumerate(kinds) if kind == "sparse"])


ARCHITECTURE = Architecture(
    names=("ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM"),
    model_type="exaone_moe",
    spec_from_hf=spec_from_hf,
    weights=glm4_moe.WEIGHTS,
    used_keys=exaone4.ARCHITECTURE.used_keys
    | GROUPED_KEYS
    | {"first_k_dense_replace", "num_experts", "num_local_experts", "num_shared_experts"}
    | {"mlp_layer_types"},
)
