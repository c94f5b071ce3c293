"""BLOOM: ALiBi positions, a norm behind the embedding, fused tensors, head by head."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.hf_config import given, need_one, per_head
from jaxpaged.models.spec import MLP, Alibi, Attention, DecoderSpec, Embedding, Head, LayerNorm, LayerSpec, PreNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

DEFAULT_LENGTH = 2048  # ALiBi has no end; this is what the models were trained at
LAYER, TARGET = "transformer.h.{i}", "layers.{i}"
WEIGHTS = WeightRules(
    (
        Rule("transformer.word_embeddings.weight", "embedding.table"),
        Rule("lm_head.weight", "head.weight"),
        *(
            Rule(f"{source}.{kind}", f"{target}{suffix}", transform=transform)
            for source, target, transform in (
                (f"{LAYER}.self_attention.query_key_value", f"{TARGET}.mixer.qkv", "interleaved"),
                (f"{LAYER}.self_attention.dense", f"{TARGET}.mixer.out", None),
                (f"{LAYER}.mlp.dense_h_to_4h", f"{TARGET}.ffn.up", None),
                (f"{LAYER}.mlp.dense_4h_to_h", f"{TARGET}.ffn.down", None),
            )
            for kind, suffix in (("weight", ""), ("bias", "_bias"))
        ),
        *(
            Rule(f"{source}.{kind}", f"{target}.{kind}")
            for source, target in (
                ("transformer.word_embeddings_layernorm", "embedding.norm"),
                (f"{LAYER}.input_layernorm", f"{TARGET}.mixer_norm"),
                (f"{LAYER}.post_attention_layernorm", f"{TARGET}.ffn_norm"),
                ("transformer.ln_f", "final_norm"),
            )
            for kind in ("weight", "bias")
        ),
    ),
    prefix="transformer.",
)


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden = need_one(config, "n_embed", "hidden_size")
    heads = need_one(config, "n_head", "num_attention_heads")
    norm, dim = LayerNorm(given(config, "layer_norm_epsilon", 1e-5)), per_head(hidden, heads)
    mixer = Attention(heads, heads, dim, scale=dim**-0.5, position=Alibi(), qkv_bias=True, out_bias=True)
    layer = LayerSpec(mixer, MLP(4 * hidden, "gelu_tanh", bias=True), PreNorm(norm))
    return DecoderSpec(
        vocab_size=need_one(config, "vocab_size"),
        hidden_size=hidden,
        max_position=given(config, "seq_length", DEFAULT_LENGTH),
        embedding=Embedding(hidden, norm=norm),
        layers=(layer,) * need_one(config, "n_layer", "num_hidden_layers"),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", True)),
    )


ARCHITECTURE = Architecture(
    names=("BloomForCausalLM",),
    model_type="bloom",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=frozenset(
        {
            "hidden_size",
            "layer_norm_epsilon",
            "n_embed",
            "n_head",
            "n_layer",
            "num_attention_heads",
            "num_hidden_layers",
            "seq_length",
            "tie_word_embeddings",
            "vocab_size",
        }
    ),
    # Megatron's own settings, left in the published configs; transformers does not read them.
    ignored_keys=frozenset(
        {
            "attention_softmax_in_fp32",
            "bias_dropout_fusion",
            "masked_softmax_fusion",
            "offset_alibi",
            "position_embedding_type",
            "pretraining_tp",
            "skip_bias_add",
            "skip_bias_add_qkv",
            "slow_but_exact",
        }
    ),
    fixed_keys={"apply_residual_connection_post_layernorm": False},
)
