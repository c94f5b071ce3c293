"""Llama 1-3 and the many models that keep its form."""

from __future__ import annotations

from collections.abc import Hashable

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.hf_config import ROPE_KEYS, activation_of, given, head_dim_of, max_position_of, need, rope_of
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import Attention, DecoderSpec, Embedding, GatedMLP, Head, LayerSpec, PreNorm, RMSNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

# Mistral, Qwen and Gemma name their tensors alike; rules for what a model lacks do not apply.
ATTENTION_RULES = tuple(
    Rule(f"model.layers.{{i}}.self_attn.{part}_proj.{kind}", f"layers.{{i}}.mixer.{target}", part)
    for kind, target in (("weight", "qkv"), ("bias", "qkv_bias"))
    for part in "qkv"
)
RULES_BUT_NORMS = (
    *ATTENTION_RULES,
    Rule("model.layers.{i}.self_attn.o_proj.weight", "layers.{i}.mixer.out"),
    Rule("model.layers.{i}.self_attn.o_proj.bias", "layers.{i}.mixer.out_bias"),
    Rule("model.layers.{i}.self_attn.q_norm.weight", "layers.{i}.mixer.q_norm.weight"),
    Rule("model.layers.{i}.self_attn.k_norm.weight", "layers.{i}.mixer.k_norm.weight"),
    Rule("model.layers.{i}.mlp.gate_proj.weight", "layers.{i}.ffn.gate_up", "gate"),
    Rule("model.layers.{i}.mlp.up_proj.weight", "layers.{i}.ffn.gate_up", "up"),
    Rule("model.layers.{i}.mlp.gate_proj.bias", "layers.{i}.ffn.gate_up_bias", "gate"),
    Rule("model.layers.{i}.mlp.up_proj.bias", "layers.{i}.ffn.gate_up_bias", "up"),
    Rule("model.layers.{i}.mlp.up_proj.weight", "layers.{i}.ffn.up"),
    Rule("model.layers.{i}.mlp.up_proj.bias", "layers.{i}.ffn.up_bias"),
    Rule("model.layers.{i}.mlp.down_proj.weight", "layers.{i}.ffn.down"),
    Rule("model.layers.{i}.mlp.down_proj.bias", "layers.{i}.ffn.down_bias"),
    Rule("model.embed_tokens.weight", "embedding.table"),
    Rule("model.norm.weight", "final_norm.weight"),
    Rule("model.norm.bias", "final_norm.bias"),
    Rule("lm_head.weight", "head.weight"),
)
RULES = (
    *RULES_BUT_NORMS,
    # Yi's first checkpoints say ln1 and ln2.
    Rule(
        "model.layers.{i}.input_layernorm.weight",
        "layers.{i}.mixer_norm.weight",
        aliases=("model.layers.{i}.ln1.weight",),
    ),
    Rule(
        "model.layers.{i}.post_attention_layernorm.weight",
        "layers.{i}.ffn_norm.weight",
        aliases=("model.layers.{i}.ln2.weight",),
    ),
    Rule("model.layers.{i}.input_layernorm.bias", "layers.{i}.mixer_norm.bias"),
    Rule("model.layers.{i}.post_attention_layernorm.bias", "layers.{i}.ffn_norm.bias"),
)
WEIGHTS = WeightRules(RULES, prefix="model.", ignored=(r"rotary_emb\.inv_freq",))

# What every model of this form reads.
KEYS = ROPE_KEYS | {
    "head_dim",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "tie_word_embeddings",
    "vocab_size",
}


def spec_from_hf(config: Config) -> DecoderSpec:
    return llama_spec(config, head_dim_of(config))


def llama_spec(config: Config, dim: int, rope: Rope | None = None, ffn: Hashable | None = None) -> DecoderSpec:
    """`dim`: of a head; `rope`, `ffn`: where they are not the usual ones."""
    hidden, heads = need(config, "hidden_size"), need(config, "num_attention_heads")
    norm = RMSNorm(given(config, "rms_norm_eps", 1e-6))
    rope = rope or rope_of(config, dim)
    bias = given(config, "attention_bias", False)
    mixer = Attention(
        heads=heads,
        kv_heads=given(config, "num_key_value_heads", heads),
        head_dim=dim,
        scale=dim**-0.5,
        position=rope,
        qkv_bias=bias,
        out_bias=bias,
    )
    ffn = ffn or _gated_mlp(config)
    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=max_position_of(config, rope),
        embedding=Embedding(hidden),
        layers=(LayerSpec(mixer, ffn, PreNorm(norm)),) * need(config, "num_hidden_layers"),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", False)),
    )


def _gated_mlp(config: Config) -> GatedMLP:
    activation = activation_of(config, "hidden_act", "silu")
    return GatedMLP(need(config, "intermediate_size"), activation, bias=given(config, "mlp_bias", False))


ARCHITECTURE = Architecture(
    names=("LlamaForCausalLM", "LLaMAForCausalLM", "AquilaForCausalLM", "AquilaModel", "YiForCausalLM"),
    model_type="llama",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=KEYS | {"attention_bias", "mlp_bias"},
    ignored_keys=frozenset({"pretraining_tp"}),
)
