"""OPT: learned positions with two spare rows; 350m normalises after each part and has a narrower embedding."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.hf_config import activation_of, given, need, per_head
from jaxpaged.models.spec import (
    MLP,
    Attention,
    DecoderSpec,
    Embedding,
    Head,
    LayerNorm,
    LayerSpec,
    LearnedPositions,
    PostNorm,
    PreNorm,
)
from jaxpaged.models.weight_rules import Rule, WeightRules

SPARE_POSITIONS = 2
NORM_EPS = 1e-5
LAYER, TARGET = "model.decoder.layers.{i}", "layers.{i}"
WEIGHTS = WeightRules(
    (
        Rule("model.decoder.embed_tokens.weight", "embedding.table"),
        Rule("model.decoder.embed_positions.weight", "embedding.positions"),
        Rule("model.decoder.project_in.weight", "embedding.project"),
        Rule("model.decoder.project_out.weight", "head.project"),
        Rule("lm_head.weight", "head.weight"),
        *(
            Rule(f"{LAYER}.self_attn.{part}_proj.{kind}", f"{TARGET}.mixer.qkv{suffix}", part)
            for part in "qkv"
            for kind, suffix in (("weight", ""), ("bias", "_bias"))
        ),
        *(
            Rule(f"{source}.{kind}", f"{target}{suffix}")
            for source, target in (
                (f"{LAYER}.self_attn.out_proj", f"{TARGET}.mixer.out"),
                (f"{LAYER}.fc1", f"{TARGET}.ffn.up"),
                (f"{LAYER}.fc2", f"{TARGET}.ffn.down"),
            )
            for kind, suffix in (("weight", ""), ("bias", "_bias"))
        ),
        *(
            Rule(f"{source}.{kind}", f"{target}.{kind}")
            for source, target in (
                (f"{LAYER}.self_attn_layer_norm", f"{TARGET}.mixer_norm"),
                (f"{LAYER}.final_layer_norm", f"{TARGET}.ffn_norm"),
                ("model.decoder.final_layer_norm", "final_norm"),
            )
            for kind in ("weight", "bias")
        ),
    ),
    prefix="model.",
)


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden, heads = need(config, "hidden_size"), need(config, "num_attention_heads")
    norm, dim = LayerNorm(NORM_EPS), per_head(hidden, heads)
    bias, norm_first = given(config, "enable_bias", True), given(config, "do_layer_norm_before", True)
    mixer = Attention(heads, heads, dim, scale=dim**-0.5, qkv_bias=bias, out_bias=bias)
    ffn = MLP(need(config, "ffn_dim"), activation_of(config, "activation_function", "relu"), bias=bias)
    layer = LayerSpec(mixer, ffn, PreNorm(norm) if norm_first else PostNorm(norm))
    positions = given(config, "max_position_embeddings", 2048)
    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=positions,
        embedding=Embedding(
            width=given(config, "word_embed_proj_dim", hidden),
            positions=LearnedPositions(positions + SPARE_POSITIONS, offset=SPARE_POSITIONS),
        ),
        layers=(layer,) * need(config, "num_hidden_layers"),
        final_norm=norm if norm_first and not given(config, "_remove_final_layer_norm", False) else None,
        head=Head(tied=given(config, "tie_word_embeddings", True)),
    )


ARCHITECTURE = Architecture(
    names=("OPTForCausalLM",),
    model_type="opt",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=frozenset(
        {
            "_remove_final_layer_norm",
            "activation_function",
            "do_layer_norm_before",
            "enable_bias",
            "ffn_dim",
            "hidden_size",
            "max_position_embeddings",
            "num_attention_heads",
            "num_hidden_layers",
            "tie_word_embeddings",
            "vocab_size",
            "word_embed_proj_dim",
        }
    ),
    ignored_keys=frozenset({"activation_dropout", "init_std", "layerdrop"}),
    fixed_keys={"layer_norm_elementwise_affine": True},
)
