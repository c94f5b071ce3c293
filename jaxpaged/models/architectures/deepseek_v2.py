"""DeepSeek V2: V3 with a softmax over experts, whose shares are used as they are."""

from __future__ import annotations

from dataclasses import replace

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import deepseek_v3, latent
from jaxpaged.models.experts import Router
from jaxpaged.models.hf_config import given, need
from jaxpaged.models.spec import DecoderSpec


def router_of(config: Config) -> Router:
    method = given(config, "topk_method", "greedy")
    if method not in ("greedy", "group_limited_greedy"):
        raise UnsupportedModelError(
            f"topk_method={method!r} is not implemented; known are greedy, group_limited_greedy."
        )
    return Router(
        need(config, "n_routed_experts"),
        need(config, "num_experts_per_tok"),
        renormalize=False,
        scale=given(config, "routed_scaling_factor", 1.0),
        groups=None if method == "greedy" else deepseek_v3.groups_of(config, best=1),
    )


def spec_from_hf(config: Config) -> DecoderSpec:
    spec, layers = deepseek_v3.latent_decoder(config), deepseek_v3.sparse_layers(config, 0)
    return deepseek_v3.with_experts(spec, config, router_of(config), layers)


ARCHITECTURE = Architecture(
    names=("DeepseekV2ForCausalLM",),
    model_type="deepseek_v2",
    spec_from_hf=spec_from_hf,
    weights=replace(deepseek_v3.WEIGHTS, further_layers=""),
    used_keys=latent.KEYS | deepseek_v3.EXPERT_KEYS | {"first_k_dense_replace", "topk_method"},
    ignored_keys=latent.IGNORED,
    fixed_keys={"moe_layer_freq": 1, "norm_topk_prob": False, "scoring_func": "softmax"},
)
