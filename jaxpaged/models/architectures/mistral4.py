"""Mistral Small 4: DeepSeek V3 with a softmax over experts, and queries that grow with their position."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import replace
from typing import Any, cast

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import deepseek_v3, latent
from jaxpaged.models.architectures.ministral3 import GROWTH, LONGEST
from jaxpaged.models.expert_config import after_dense_layers, experts_of, grouped_router
from jaxpaged.models.expert_rules import BLOCK
from jaxpaged.models.hf_config import given, need
from jaxpaged.models.latent import LatentAttention
from jaxpaged.models.spec import DecoderSpec, Temperature
from jaxpaged.models.weight_rules import Rule, WeightRules

# One tensor for all experts of a layer.
STACKED = (
    Rule(f"{BLOCK}.experts.gate_up_proj", "layers.{i}.ffn.expert_gate_up", transform="rows"),
    Rule(f"{BLOCK}.experts.down_proj", "layers.{i}.ffn.expert_down"),
)
_STACKED = {rule.target for rule in STACKED}
WEIGHTS = WeightRules(
    (*STACKED, *(rule for rule in deepseek_v3.WEIGHTS.rules if rule.target not in _STACKED)),
    prefix="model.",
    ignored=latent.WEIGHTS.ignored,
)
SHARE = "partial_rotary_factor"  # of a head's query and key, where other families have it of the rotated lanes


def spec_from_hf(config: Config) -> DecoderSpec:
    values = given(config, "rope_parameters", config.get("rope_scaling"))
    if values is None:
        values = need(config, "rope_parameters")
    plain = {name: value for name, value in values.items() if name not in (GROWTH, LONGEST, SHARE)}
    known: Config = ChainMap({"rope_parameters": plain}, cast(Any, config))
    temperature = Temperature(float(need(values, "original_max_position_embeddings")), float(need(values, GROWTH)))
    mixer = replace(latent.interleaved_latent_of(known), temperature=temperature)
    _check_share(values.get(SHARE), mixer)
    router = replace(grouped_router(config, "n_routed_experts"), scores="softmax", correction_bias=False)
    experts = experts_of(config, router, given(config, "n_shared_experts", 1))
    return after_dense_layers(latent.latent_spec(known, mixer), experts, given(config, "first_k_dense_replace", 0))


def _check_share(share: float | None, mixer: LatentAttention) -> None:
    if share is not None and int(mixer.key_dim * share) != mixer.rope_dim:
        raise UnsupportedModelError(
            f"config.json has {SHARE}={share} of {mixer.key_dim} lanes, but qk_rope_head_dim={mixer.rope_dim}; fetch "
            "the file again."
        )


ARCHITECTURE = Architecture(
    names=("Mistral4ForCausalLM",),
    model_type="mistral4",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=deepseek_v3.ARCHITECTURE.used_keys,
    ignored_keys=latent.IGNORED,
)
