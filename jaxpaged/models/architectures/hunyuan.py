"""Hunyuan, dense: Llama with norms on queries and keys behind the positions, and a base that alpha stretches."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given, head_dim_of, rope_key, rope_of, rope_type, without_rope_keys
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import DecoderSpec, RMSNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

ATTENTION, TARGET = "model.layers.{i}.self_attn", "layers.{i}.mixer"
WEIGHTS = WeightRules(
    (
        *llama.RULES,
        Rule(f"{ATTENTION}.query_layernorm.weight", f"{TARGET}.late_q_norm.weight"),
        Rule(f"{ATTENTION}.key_layernorm.weight", f"{TARGET}.late_k_norm.weight"),
    ),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)


def spec_from_hf(config: Config) -> DecoderSpec:
    dim = head_dim_of(config)
    spec = llama.llama_spec(config, dim, rope_with_alpha(config, dim))
    return spec.with_mixers(late_qk_norm=RMSNorm(given(config, "rms_norm_eps", 1e-5)))


def rope_with_alpha(config: Config, dim: int) -> Rope:
    """Of type dynamic with an alpha, the base is stretched once and does not depend on the length."""
    values = given(config, rope_key(config), {})
    rope, alpha = rope_of(without_rope_keys(config, {"alpha"}), dim), values.get("alpha")
    if not alpha or rope_type(values) != "dynamic":
        return rope
    return dataclasses.replace(rope, theta=rope.theta * alpha ** (dim / (dim - 2)), scaling=None)


ARCHITECTURE = Architecture(
    names=("HunYuanDenseV1ForCausalLM",),
    model_type="hunyuan_v1_dense",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS | {"attention_bias"},
    ignored_keys=frozenset({"eod_token_id", "pretraining_tp"}),
)
