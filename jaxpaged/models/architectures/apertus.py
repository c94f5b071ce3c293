"""Apertus: a norm on each head, and an MLP without a gate whose activation, xIELU, is learned."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given, head_dim_of, need, need_one, rope_of
from jaxpaged.models.spec import MLP, DecoderSpec, RMSNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

DEFAULT_THETA = 12_000_000.0
XIELU = ("alpha_n", "alpha_p", "beta", "eps")
LAYER, TARGET = "model.layers.{i}", "layers.{i}"
WEIGHTS = WeightRules(
    (
        *llama.RULES_BUT_NORMS,
        Rule(f"{LAYER}.attention_layernorm.weight", f"{TARGET}.mixer_norm.weight"),
        Rule(f"{LAYER}.feedforward_layernorm.weight", f"{TARGET}.ffn_norm.weight"),
        *(Rule(f"{LAYER}.mlp.act_fn.{name}", f"{TARGET}.ffn.xielu.{name}") for name in XIELU),
    ),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)


def spec_from_hf(config: Config) -> DecoderSpec:
    dim = head_dim_of(config)
    norm = RMSNorm(given(config, "rms_norm_eps", 1e-5))
    need_one(config, "rope_parameters", "rope_scaling")  # what their absence means is not what no scaling means
    rope, ffn = rope_of(config, dim, theta=DEFAULT_THETA), MLP(need(config, "intermediate_size"), "xielu")
    return llama.llama_spec(config, dim, rope, ffn).with_mixers(qk_norm=norm)


ARCHITECTURE = Architecture(
    names=("ApertusForCausalLM",),
    model_type="apertus",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=(llama.KEYS - {"hidden_act"}) | {"attention_bias"},
    fixed_keys={"hidden_act": "xielu", "post_norm": False, "qk_norm": True},
)
