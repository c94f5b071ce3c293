"""GPT-2: learned positions, biases everywhere, tensors in [in, out] order."""

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
    PreNorm,
)
from jaxpaged.models.weight_rules import Rule, WeightRules

LAYER, TARGET = "transformer.h.{i}", "layers.{i}"
WEIGHTS = WeightRules(
    (
        Rule("transformer.wte.weight", "embedding.table"),
        Rule("transformer.wpe.weight", "embedding.positions"),
        Rule(f"{LAYER}.attn.c_attn.weight", f"{TARGET}.mixer.qkv", transform="transpose_rows"),
        Rule(f"{LAYER}.attn.c_attn.bias", f"{TARGET}.mixer.qkv_bias", transform="rows"),
        Rule(f"{LAYER}.attn.c_proj.weight", f"{TARGET}.mixer.out", transform="transpose"),
        Rule(f"{LAYER}.attn.c_proj.bias", f"{TARGET}.mixer.out_bias"),
        Rule(f"{LAYER}.mlp.c_fc.weight", f"{TARGET}.ffn.up", transform="transpose"),
        Rule(f"{LAYER}.mlp.c_fc.bias", f"{TARGET}.ffn.up_bias"),
        Rule(f"{LAYER}.mlp.c_proj.weight", f"{TARGET}.ffn.down", transform="transpose"),
        Rule(f"{LAYER}.mlp.c_proj.bias", f"{TARGET}.ffn.down_bias"),
        *(
            Rule(f"{source}.{kind}", f"{target}.{kind}")
            for source, target in (
                (f"{LAYER}.ln_1", f"{TARGET}.mixer_norm"),
                (f"{LAYER}.ln_2", f"{TARGET}.ffn_norm"),
                ("transformer.ln_f", "final_norm"),
            )
            for kind in ("weight", "bias")
        ),
        Rule("lm_head.weight", "head.weight"),
    ),
    prefix="transformer.",
    ignored=(r"\.attn\.(bias|masked_bias)",),
)


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden, heads = need(config, "n_embd"), need(config, "n_head")
    norm = LayerNorm(given(config, "layer_norm_epsilon", 1e-5))
    dim = per_head(hidden, heads)
    mixer = Attention(heads, heads, dim, scale=dim**-0.5, qkv_bias=True, out_bias=True)
    ffn = MLP(given(config, "n_inner", 4 * hidden), activation_of(config, "activation_function", "gelu_new"), bias=True)
    positions = given(config, "n_positions", given(config, "n_ctx", 1024))
    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=positions,
        embedding=Embedding(hidden, positions=LearnedPositions(positions)),
        layers=(LayerSpec(mixer, ffn, PreNorm(norm)),) * need(config, "n_layer"),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", True)),
    )


SUMMARY_KEYS = frozenset(
    {
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
    }
)
ARCHITECTURE = Architecture(
    names=("GPT2LMHeadModel",),
    model_type="gpt2",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=frozenset(
        {
            "activation_function",
            "layer_norm_epsilon",
            "n_ctx",
            "n_embd",
            "n_head",
            "n_inner",
            "n_layer",
            "n_positions",
            "tie_word_embeddings",
            "vocab_size",
        }
    ),
    ignored_keys=SUMMARY_KEYS | {"reorder_and_upcast_attn"},
    fixed_keys={"scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True},
)
