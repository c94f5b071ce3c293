"""Phi 1, 1.5 and 2: parallel layers that share a norm, partial rotary positions, biases everywhere."""

from __future__ import annotations

from dataclasses import replace

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import activation_of, given, head_dim_of, need, rope_of
from jaxpaged.models.spec import MLP, DecoderSpec, LayerNorm, Parallel
from jaxpaged.models.weight_rules import Rule

ROTATED = 0.5
NAMES = {
    "model.norm.": "model.final_layernorm.",
    "self_attn.o_proj": "self_attn.dense",
    "self_attn.q_norm": "self_attn.q_layernorm",
    "self_attn.k_norm": "self_attn.k_layernorm",
    "mlp.up_proj": "mlp.fc1",
    "mlp.down_proj": "mlp.fc2",
}


def _renamed(rule: Rule) -> Rule:
    source = rule.source
    for name, own in NAMES.items():
        source = source.replace(name, own)
    return replace(rule, source=source)


BIASES = (
    Rule("model.layers.{i}.self_attn.q_layernorm.bias", "layers.{i}.mixer.q_norm.bias"),
    Rule("model.layers.{i}.self_attn.k_layernorm.bias", "layers.{i}.mixer.k_norm.bias"),
    Rule("lm_head.bias", "head.bias"),
)
WEIGHTS = replace(llama.WEIGHTS, rules=(*map(_renamed, llama.RULES), *BIASES))


def spec_from_hf(config: Config) -> DecoderSpec:
    dim, norm = head_dim_of(config), LayerNorm(given(config, "layer_norm_eps", 1e-5))
    ffn = MLP(need(config, "intermediate_size"), activation_of(config, "hidden_act", "gelu_new"), bias=True)
    qk_norm = norm if given(config, "qk_layernorm", False) else None
    spec = llama.llama_spec(config, dim, rope_of(config, dim, rotated=ROTATED), ffn)
    spec = spec.with_mixers(qkv_bias=True, out_bias=True, qk_norm=qk_norm).with_layers(residual=Parallel(norm))
    return replace(spec, final_norm=norm, head=replace(spec.head, bias=True))


ARCHITECTURE = Architecture(
    names=("PhiForCausalLM",),
    model_type="phi",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=(llama.KEYS - {"rms_norm_eps"}) | {"layer_norm_eps", "partial_rotary_factor", "qk_layernorm"},
)
