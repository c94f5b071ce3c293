"""Phi 1, 1.5 and 2: parallel layers that share a norm, partial rotary positions, biases everywhere."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import ROPE_KEYS, activation_of, given, head_dim_of, max_position_of, need, rope_of
from jaxpaged.models.spec import MLP, Attention, DecoderSpec, Embedding, Head, LayerNorm, LayerSpec, Parallel
from jaxpaged.models.weight_rules import Rule, WeightRules

LAYER, TARGET = "model.layers.{i}", "layers.{i}"
WEIGHTS = WeightRules(
    (
        *llama.ATTENTION_RULES,
        Rule("model.embed_tokens.weight", "embedding.table"),
        Rule("lm_head.weight", "head.weight"),
        Rule("lm_head.bias", "head.bias"),
        *(
            Rule(f"{LAYER}.{source}.{kind}", f"{TARGET}.{target}{suffix}")
            for source, target in (("self_attn.dense", "mixer.out"), ("mlp.fc1", "ffn.up"), ("mlp.fc2", "ffn.down"))
            for kind, suffix in (("weight", ""), ("bias", "_bias"))
        ),
        *(
            Rule(f"{source}.{kind}", f"{target}.{kind}")
            for source, target in (
                (f"{LAYER}.input_layernorm", f"{TARGET}.mixer_norm"),
                (f"{LAYER}.self_attn.q_layernorm", f"{TARGET}.mixer.q_norm"),
                (f"{LAYER}.self_attn.k_layernorm", f"{TARGET}.mixer.k_norm"),
                ("model.final_layernorm", "final_norm"),
            )
            for kind in ("weight", "bias")
        ),
    ),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)
ROTATED = 0.5


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden, heads = need(config, "hidden_size"), need(config, "num_attention_heads")
    dim, norm = head_dim_of(config), LayerNorm(given(config, "layer_norm_eps", 1e-5))
    rope = rope_of(config, dim, rotated=ROTATED)
    mixer = Attention(
        heads=heads,
        kv_heads=given(config, "num_key_value_heads", heads),
        head_dim=dim,
        scale=dim**-0.5,
        position=rope,
        qkv_bias=True,
        out_bias=True,
        qk_norm=norm if given(config, "qk_layernorm", False) else None,
    )
    ffn = MLP(need(config, "intermediate_size"), activation_of(config, "hidden_act", "gelu_new"), bias=True)
    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=max_position_of(config, rope),
        embedding=Embedding(hidden),
        layers=(LayerSpec(mixer, ffn, Parallel(norm)),) * need(config, "num_hidden_layers"),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", False), bias=True),
    )


ARCHITECTURE = Architecture(
    names=("PhiForCausalLM",),
    model_type="phi",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=ROPE_KEYS
    | {
        "head_dim",
        "hidden_act",
        "hidden_size",
        "intermediate_size",
        "layer_norm_eps",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "partial_rotary_factor",
        "qk_layernorm",
        "tie_word_embeddings",
        "vocab_size",
    },
)
