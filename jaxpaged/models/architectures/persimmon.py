"""Persimmon: squared ReLU without a gate, layer norms on queries and keys, fused tensors, head by head."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import activation_of, given, need, per_head, rope_of
from jaxpaged.models.spec import MLP, DecoderSpec, LayerNorm, PreNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

ROTATED = 0.5
LAYER, TARGET = "model.layers.{i}", "layers.{i}"
WEIGHTS = WeightRules(
    (
        Rule("model.embed_tokens.weight", "embedding.table"),
        Rule("lm_head.weight", "head.weight"),
        *(
            Rule(f"{LAYER}.{source}.{kind}", f"{TARGET}.{target}{suffix}", transform=transform)
            for source, target, transform in (
                ("self_attn.query_key_value", "mixer.qkv", "interleaved"),
                ("self_attn.dense", "mixer.out", None),
                ("mlp.dense_h_to_4h", "ffn.up", None),
                ("mlp.dense_4h_to_h", "ffn.down", None),
            )
            for kind, suffix in (("weight", ""), ("bias", "_bias"))
        ),
        *(
            Rule(f"{source}.{kind}", f"{target}.{kind}")
            for source, target in (
                (f"{LAYER}.self_attn.q_layernorm", f"{TARGET}.mixer.q_norm"),
                (f"{LAYER}.self_attn.k_layernorm", f"{TARGET}.mixer.k_norm"),
                (f"{LAYER}.input_layernorm", f"{TARGET}.mixer_norm"),
                (f"{LAYER}.post_attention_layernorm", f"{TARGET}.ffn_norm"),
                ("model.final_layernorm", "final_norm"),
            )
            for kind in ("weight", "bias")
        ),
    ),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)


def spec_from_hf(config: Config) -> DecoderSpec:
    heads, norm = need(config, "num_attention_heads"), LayerNorm(given(config, "layer_norm_eps", 1e-5))
    dim = per_head(need(config, "hidden_size"), heads)
    qk_norm = norm if given(config, "qk_layernorm", True) else None
    spec = llama.llama_spec(config, dim, rope_of(config, dim, rotated=ROTATED))
    spec = spec.with_mixers(kv_heads=heads, qkv_bias=True, out_bias=True, qk_norm=qk_norm)
    ffn = MLP(need(config, "intermediate_size"), activation_of(config, "hidden_act", "relu2"), bias=True)
    return dataclasses.replace(spec.with_layers(ffn=ffn, residual=PreNorm(norm)), final_norm=norm)


ARCHITECTURE = Architecture(
    names=("PersimmonForCausalLM",),
    model_type="persimmon",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=(llama.KEYS - {"head_dim", "num_key_value_heads", "rms_norm_eps"})
    | {"layer_norm_eps", "partial_rotary_factor", "qk_layernorm"},
)
