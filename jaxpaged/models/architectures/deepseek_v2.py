"""DeepSeek V2: V3 with a softmax over experts, whose shares are used as they are."""

from __future__ import annotations

from dataclasses import replace

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import deepseek_v3, latent
from jaxpaged.models.expert_config import after_dense_layers, experts_of, grouped_router
from jaxpaged.models.experts import Router
from jaxpaged.models.hf_config import given
from jaxpaged.models.spec import DecoderSpec

DEFAULT_DENSE, DEFAULT_SHARED = 0, 2


def router_of(config: Config) -> Router:
    """Raises UnsupportedModelError for a way to choose that is not V2's."""
    method = given(config, "topk_method", "greedy")
    if method not in ("greedy", "group_limited_greedy"):
        raise UnsupportedModelError(
            f"topk_method={method!r} is not implemented; known are greedy, group_limited_greedy."
        )
    router = grouped_router(config, "n_routed_experts")
    groups = None if router.groups is None or method == "greedy" else replace(router.groups, best=1)
    return replace(router, scores="softmax", renormalize=False, correction_bias=False, groups=groups)


def spec_from_hf(config: Config) -> DecoderSpec:
    spec = latent.latent_spec(config, latent.latent_of(config))
    experts = experts_of(config, router_of(config), given(config, "n_shared_experts", DEFAULT_SHARED))
    return after_dense_layers(spec, experts, given(config, "first_k_dense_replace", DEFAULT_DENSE))


ARCHITECTURE = Architecture(
    names=("DeepseekV2ForCausalLM",),
    model_type="deepseek_v2",
    spec_from_hf=spec_from_hf,
    weights=replace(deepseek_v3.WEIGHTS, further_layers=""),
    used_keys=latent.KEYS | (deepseek_v3.EXPERT_KEYS - {"norm_topk_prob"}) | {"topk_method"},
    ignored_keys=latent.IGNORED,
    fixed_keys={"moe_layer_freq": 1, "norm_topk_prob": False, "scoring_func": "softmax"},
)
