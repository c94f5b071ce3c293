"""GLM 4.7 Flash: DeepSeek V3 in another size, with a list of the layers that have experts."""

from __future__ import annotations

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import deepseek_v3
from jaxpaged.models.hf_config import given, need
from jaxpaged.models.spec import DecoderSpec


def sparse_layers(config: Config) -> list[int]:
    """Those that `mlp_layer_types` calls sparse. Raises UnsupportedModelError for other names, or another length."""
    count = need(config, "num_hidden_layers")
    sparse = deepseek_v3.sparse_layers(config, 1)
    types = given(config, "mlp_layer_types", ["sparse" if i in sparse else "dense" for i in range(count)])
    if len(types) != count or set(types) - {"dense", "sparse"}:
        raise UnsupportedModelError(f"mlp_layer_types must say dense or sparse for each of the {count} layers.")
    return [i for i, kind in enumerate(types) if kind == "sparse"]


def spec_from_hf(config: Config) -> DecoderSpec:
    spec, router = deepseek_v3.latent_decoder(config), deepseek_v3.sigmoid_router(config)
    return deepseek_v3.with_experts(spec, config, router, sparse_layers(config))


ARCHITECTURE = Architecture(
    names=("Glm4MoeLiteForCausalLM",),
    model_type="glm4_moe_lite",
    spec_from_hf=spec_from_hf,
    weights=deepseek_v3.WEIGHTS,
    used_keys=deepseek_v3.ARCHITECTURE.used_keys | {"mlp_layer_types"},
    ignored_keys=deepseek_v3.IGNORED,
    fixed_keys=deepseek_v3.ARCHITECTURE.fixed_keys,
)
