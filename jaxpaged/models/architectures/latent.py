"""What families with latent attention share: DeepSeek's names, in config.json and in checkpoints, in a Llama."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from jaxpaged.models.architecture import Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given, need, rope_of, rope_type, rope_values
from jaxpaged.models.latent import LatentAttention
from jaxpaged.models.spec import DecoderSpec, RMSNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

# Worked out of the others by transformers, which writes them beside those; every head has its own key.
IGNORED = frozenset({"head_dim", "num_key_value_heads", "pretraining_tp", "qk_head_dim"})
KEYS = (llama.KEYS - IGNORED) | {
    "attention_bias",
    "kv_lora_rank",
    "q_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
}
NORM = RMSNorm(1e-6)  # whatever rms_norm_eps says

_ATTENTION = "model.layers.{i}.self_attn"
_OWN_RULES = (
    Rule(f"{_ATTENTION}.q_a_proj.weight", "layers.{i}.mixer.q_a"),
    Rule(f"{_ATTENTION}.q_a_proj.bias", "layers.{i}.mixer.q_a_bias"),
    Rule(f"{_ATTENTION}.q_a_layernorm.weight", "layers.{i}.mixer.q_norm.weight"),
    Rule(f"{_ATTENTION}.q_b_proj.weight", "layers.{i}.mixer.q", aliases=(f"{_ATTENTION}.q_proj.weight",)),
    Rule(f"{_ATTENTION}.kv_a_proj_with_mqa.weight", "layers.{i}.mixer.kv_a"),
    Rule(f"{_ATTENTION}.kv_a_proj_with_mqa.bias", "layers.{i}.mixer.kv_a_bias"),
    Rule(f"{_ATTENTION}.kv_a_layernorm.weight", "layers.{i}.mixer.kv_norm.weight"),
    Rule(f"{_ATTENTION}.kv_b_proj.weight", "layers.{i}.mixer.kv_b"),
)
# Llama's rules for what this attention lacks do not apply.
RULES = (*_OWN_RULES, *(rule for rule in llama.RULES if rule.target not in {own.target for own in _OWN_RULES}))
WEIGHTS = WeightRules(RULES, prefix="model.", ignored=llama.WEIGHTS.ignored)


def latent_of(
    config: Config, *, pairs: Literal["halves", "adjacent"] = "adjacent", value_dim: int | None = None
) -> LatentAttention:
    """The mixer of all layers. value_dim: of a head, where config.json does not say; None: it must."""
    nope, rotated = need(config, "qk_nope_head_dim"), need(config, "qk_rope_head_dim")
    q_rank = config.get("q_lora_rank")
    return LatentAttention(
        heads=need(config, "num_attention_heads"),
        kv_rank=need(config, "kv_lora_rank"),
        nope_dim=nope,
        rope_dim=rotated,
        value_dim=need(config, "v_head_dim") if value_dim is None else given(config, "v_head_dim", value_dim),
        scale=(nope + rotated) ** -0.5 * _magnitude(config) ** 2,
        kv_norm=NORM,
        q_rank=q_rank,
        q_norm=None if q_rank is None else NORM,
        position=rope_of(config, rotated, pairs=pairs),
        bias=given(config, "attention_bias", False),
    )


def interleaved_latent_of(config: Config) -> LatentAttention:
    """The same where a key says whether rotated lanes are in adjacent pairs."""
    return latent_of(config, pairs="adjacent" if given(config, "rope_interleave", True) else "halves")


def latent_spec(config: Config, mixer: LatentAttention) -> DecoderSpec:
    """A Llama with latent attention in all layers."""
    spec = llama.llama_spec(config, mixer.rope_dim)
    return replace(spec, layers=tuple(replace(layer, mixer=mixer) for layer in spec.layers))


def _magnitude(config: Config) -> float:
    """YaRN's factor of queries and of keys that stands in the softmax scale, for the lanes without positions too."""
    values = rope_values(config)
    weight = values.get("mscale_all_dim")
    if rope_type(values) == "default" or not weight:
        return 1.0
    return 0.1 * float(weight) * math.log(max(need(values, "factor"), 1.0)) + 1.0
