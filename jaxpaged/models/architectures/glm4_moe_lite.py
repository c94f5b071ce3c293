"""GLM 4.7 Flash: DeepSeek V3 in another size, with a list of the layers that have experts."""

from __future__ import annotations

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import deepseek_v3, latent
from jaxpaged.models.expert_config import experts_of, grouped_router
from jaxpaged.models.hf_config import given, need
from jaxpaged.models.spec import DecoderSpec

DEFAULT_DENSE, DEFAULT_SHARED = 1, 1


def sparse_layers(config: Config) -> list[int]:
    """Those that `mlp_layer_types` calls sparse. Raises UnsupportedModelError for other names, or another length."""
    count, dense = need(config, "num_hidden_layers"), given(config, "first_k_dense_replace", DEFAULT_DENSE)
    types = given(config, "mlp_layer_types", ["dense" if i < dense else "sparse" for i in range(count)])
    if len(types) != count or set(types) - {"dense", "sparse"}:
        raise UnsupportedModelError(f"mlp_layer_types must say dense or sparse for each of the {count} layers.")
    return [i for i, kind in enumerate(types) if kind == "sparse"]


def spec_from_hf(config: Config) -> DecoderSpec:
    router = grouped_router(config, "n_routed_experts")
    experts = experts_of(config, router, given(config, "n_shared_experts", DEFAULT_SHARED))
    spec = latent.latent_spec(config, latent.interleaved_latent_of(config))
    return spec.with_ffn(experts, sparse_layers(config))


ARCHITECTURE = Architecture(
    names=("Glm4MoeLiteForCausalLM",),
    model_type="glm4_moe_lite",
    spec_from_hf=spec_from_hf,
    weights=deepseek_v3.WEIGHTS,
    used_keys=deepseek_v3.ARCHITECTURE.used_keys | {"mlp_layer_types"},
    ignored_keys=deepseek_v3.IGNORED,
    fixed_keys=deepseek_v3.ARCHITECTURE.fixed_keys,
)
