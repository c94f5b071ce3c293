"""ChatGLM 2 and 3, and glm-4-9b: few key-value heads, half of each head rotated in adjacent pairs, fused tensors."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.hf_config import given, need, per_head
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import Attention, DecoderSpec, Embedding, GatedMLP, Head, LayerSpec, PreNorm, RMSNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

SOURCE, TARGET = "transformer.encoder.layers.{i}", "layers.{i}"
MATRICES = (
    ("self_attention.query_key_value", "mixer.qkv", "rows"),
    ("self_attention.dense", "mixer.out", None),
    ("mlp.dense_h_to_4h", "ffn.gate_up", "rows"),
    ("mlp.dense_4h_to_h", "ffn.down", None),
)
WEIGHTS = WeightRules(
    (
        *(
            Rule(f"{SOURCE}.{source}.{kind}", f"{TARGET}.{target}{suffix}", transform=transform)
            for kind, suffix in (("weight", ""), ("bias", "_bias"))
            for source, target, transform in MATRICES
        ),
        Rule(f"{SOURCE}.input_layernorm.weight", f"{TARGET}.mixer_norm.weight"),
        Rule(f"{SOURCE}.post_attention_layernorm.weight", f"{TARGET}.ffn_norm.weight"),
        Rule("transformer.embedding.word_embeddings.weight", "embedding.table"),
        Rule("transformer.encoder.final_layernorm.weight", "final_norm.weight"),
        Rule("transformer.output_layer.weight", "head.weight"),
    ),
    prefix="transformer.",
    ignored=(r"rotary_pos_emb\.inv_freq",),
)
THETA = 10000.0


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden, heads = need(config, "hidden_size"), need(config, "num_attention_heads")
    bias, dim = given(config, "add_bias_linear", False), given(config, "kv_channels", per_head(hidden, heads))
    few = given(config, "multi_query_attention", False)
    mixer = Attention(
        heads=heads,
        kv_heads=given(config, "multi_query_group_num", 1) if few else heads,
        head_dim=dim,
        scale=dim**-0.5,
        position=Rope(dim // 2, THETA * given(config, "rope_ratio", 1), "adjacent"),
        qkv_bias=bias or given(config, "add_qkv_bias", False),
        out_bias=bias,
    )
    norm = RMSNorm(given(config, "layernorm_epsilon", 1e-5))
    layer = LayerSpec(mixer, GatedMLP(need(config, "ffn_hidden_size"), "silu", bias=bias), PreNorm(norm))
    return DecoderSpec(
        vocab_size=need(config, "padded_vocab_size"),
        hidden_size=hidden,
        max_position=given(config, "seq_length", 2048),
        embedding=Embedding(hidden),
        layers=(layer,) * need(config, "num_layers"),
        final_norm=norm if given(config, "post_layer_norm", True) else None,
        head=Head(tied=given(config, "tie_word_embeddings", False)),
    )


ARCHITECTURE = Architecture(
    names=("ChatGLMModel", "ChatGLMForConditionalGeneration"),
    model_type="chatglm",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=frozenset(
        {
            "add_bias_linear",
            "add_qkv_bias",
            "ffn_hidden_size",
            "hidden_size",
            "kv_channels",
            "layernorm_epsilon",
            "multi_query_attention",
            "multi_query_group_num",
            "num_attention_heads",
            "num_layers",
            "padded_vocab_size",
            "post_layer_norm",
            "rope_ratio",
            "seq_length",
            "tie_word_embeddings",
        }
    ),
    # position_encoding_2d: the first ChatGLM, another model. pre_seq_len: trained prefixes beside the model.
    fixed_keys={
        "fp32_residual_connection": False,
        "interleaved_qkv": False,
        "original_rope": True,
        "position_encoding_2d": False,
        "pre_seq_len": None,
        "rmsnorm": True,
    },
)
