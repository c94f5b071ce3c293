"""GPT-NeoX and Pythia: partial rotary positions, parallel or serial residual, fused tensors, head by head."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.hf_config import ROPE_KEYS, activation_of, given, max_position_of, need, per_head, rope_of
from jaxpaged.models.spec import (
    MLP,
    Attention,
    DecoderSpec,
    Embedding,
    Head,
    LayerNorm,
    LayerSpec,
    Parallel,
    PreNorm,
)
from jaxpaged.models.weight_rules import Rule, WeightRules

LAYER, TARGET = "gpt_neox.layers.{i}", "layers.{i}"
WEIGHTS = WeightRules(
    (
        Rule("gpt_neox.embed_in.weight", "embedding.table"),
        Rule("embed_out.weight", "head.weight", aliases=("lm_head.weight",)),
        *(
            Rule(f"{source}.{kind}", f"{target}{suffix}", transform=transform)
            for source, target, transform in (
                (f"{LAYER}.attention.query_key_value", f"{TARGET}.mixer.qkv", "interleaved"),
                (f"{LAYER}.attention.dense", f"{TARGET}.mixer.out", None),
                (f"{LAYER}.mlp.dense_h_to_4h", f"{TARGET}.ffn.up", None),
                (f"{LAYER}.mlp.dense_4h_to_h", f"{TARGET}.ffn.down", None),
            )
            for kind, suffix in (("weight", ""), ("bias", "_bias"))
        ),
        *(
            Rule(f"{source}.{kind}", f"{target}.{kind}")
            for source, target in (
                (f"{LAYER}.input_layernorm", f"{TARGET}.mixer_norm"),
                (f"{LAYER}.post_attention_layernorm", f"{TARGET}.ffn_norm"),
                ("gpt_neox.final_layer_norm", "final_norm"),
            )
            for kind in ("weight", "bias")
        ),
    ),
    prefix="gpt_neox.",
    ignored=(r"\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)", r"gpt_neox\.rotary_emb\.inv_freq"),
)


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden, heads = need(config, "hidden_size"), need(config, "num_attention_heads")
    norm = LayerNorm(given(config, "layer_norm_eps", 1e-5))
    dim = per_head(hidden, heads)
    theta, share = given(config, "rotary_emb_base", 10000.0), given(config, "rotary_pct", 0.25)
    rope = rope_of(config, dim, theta=theta, rotated=share)
    bias = given(config, "attention_bias", True)
    mixer = Attention(heads, heads, dim, scale=dim**-0.5, position=rope, qkv_bias=bias, out_bias=bias)
    ffn = MLP(need(config, "intermediate_size"), activation_of(config, "hidden_act", "gelu"), bias=True)
    parallel = given(config, "use_parallel_residual", True)
    residual = Parallel(norm, ffn_norm=norm) if parallel else PreNorm(norm)
    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=max_position_of(config, rope),
        embedding=Embedding(hidden),
        layers=(LayerSpec(mixer, ffn, residual),) * need(config, "num_hidden_layers"),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", False)),
    )


ARCHITECTURE = Architecture(
    names=("GPTNeoXForCausalLM",),
    model_type="gpt_neox",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=ROPE_KEYS
    | {
        "attention_bias",
        "hidden_act",
        "hidden_size",
        "intermediate_size",
        "layer_norm_eps",
        "num_attention_heads",
        "num_hidden_layers",
        "partial_rotary_factor",
        "rotary_emb_base",
        "rotary_pct",
        "tie_word_embeddings",
        "use_parallel_residual",
        "vocab_size",
    },
)
