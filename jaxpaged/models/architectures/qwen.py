"""Qwen 1: Llama under other names, with a bias on queries, keys and values, and half the inner size that it states."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.hf_config import given, need, per_head
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import Attention, DecoderSpec, Embedding, GatedMLP, Head, LayerSpec, PreNorm, RMSNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

LAYER, TARGET = "transformer.h.{i}", "layers.{i}"
WEIGHTS = WeightRules(
    (
        Rule("transformer.wte.weight", "embedding.table"),
        Rule(f"{LAYER}.ln_1.weight", f"{TARGET}.mixer_norm.weight"),
        Rule(f"{LAYER}.attn.c_attn.weight", f"{TARGET}.mixer.qkv", transform="rows"),
        Rule(f"{LAYER}.attn.c_attn.bias", f"{TARGET}.mixer.qkv_bias", transform="rows"),
        Rule(f"{LAYER}.attn.c_proj.weight", f"{TARGET}.mixer.out"),
        Rule(f"{LAYER}.ln_2.weight", f"{TARGET}.ffn_norm.weight"),
        Rule(f"{LAYER}.mlp.w1.weight", f"{TARGET}.ffn.gate_up", "up"),
        Rule(f"{LAYER}.mlp.w2.weight", f"{TARGET}.ffn.gate_up", "gate"),
        Rule(f"{LAYER}.mlp.c_proj.weight", f"{TARGET}.ffn.down"),
        Rule("transformer.ln_f.weight", "final_norm.weight"),
        Rule("lm_head.weight", "head.weight"),
    ),
    prefix="transformer.",
    ignored=(r"rotary_emb\.inv_freq", r"\.attn\.(bias|masked_bias|logn_tensor)"),
)


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden, heads = need(config, "hidden_size"), need(config, "num_attention_heads")
    dim = given(config, "kv_channels", per_head(hidden, heads))
    norm = RMSNorm(given(config, "layer_norm_epsilon", 1e-6))
    rope = Rope(dim, float(given(config, "rotary_emb_base", 10000.0)))
    mixer = Attention(heads, heads, dim, scale=dim**-0.5, position=rope, qkv_bias=True)
    layer = LayerSpec(mixer, GatedMLP(need(config, "intermediate_size") // 2, "silu"), PreNorm(norm))
    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=_longest(config),
        embedding=Embedding(hidden),
        layers=(layer,) * need(config, "num_hidden_layers"),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", False)),
    )


def _longest(config: Config) -> int:
    """Dynamic NTK and the growing scores change nothing up to seq_length, the trained length: there serving ends."""
    trained = int(given(config, "seq_length", 8192))
    stated = int(given(config, "max_position_embeddings", trained))
    grows = given(config, "use_dynamic_ntk", True) or given(config, "use_logn_attn", True)
    return min(stated, trained) if grows else stated


ARCHITECTURE = Architecture(
    names=("QWenLMHeadModel",),
    model_type="qwen",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=frozenset(
        {
            "hidden_size",
            "intermediate_size",
            "kv_channels",
            "layer_norm_epsilon",
            "max_position_embeddings",
            "num_attention_heads",
            "num_hidden_layers",
            "rotary_emb_base",
            "seq_length",
            "tie_word_embeddings",
            "use_dynamic_ntk",
            "use_logn_attn",
            "vocab_size",
        }
    ),
    fixed_keys={"no_bias": True},
)
