"""MPT: ALiBi, no biases, not even of norms; StoryWriter clips queries, keys and values."""

from __future__ import annotations

from typing import Any

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.hf_config import clip_of, given, need, per_head
from jaxpaged.models.spec import MLP, Alibi, Attention, DecoderSpec, Embedding, Head, LayerNorm, LayerSpec, PreNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

LAYER, TARGET = "transformer.blocks.{i}", "layers.{i}"
WEIGHTS = WeightRules(
    (
        Rule("transformer.wte.weight", "embedding.table"),
        Rule(f"{LAYER}.norm_1.weight", f"{TARGET}.mixer_norm.weight"),
        Rule(f"{LAYER}.attn.Wqkv.weight", f"{TARGET}.mixer.qkv", transform="rows"),
        Rule(f"{LAYER}.attn.out_proj.weight", f"{TARGET}.mixer.out"),
        Rule(f"{LAYER}.norm_2.weight", f"{TARGET}.ffn_norm.weight"),
        Rule(f"{LAYER}.ffn.up_proj.weight", f"{TARGET}.ffn.up"),
        Rule(f"{LAYER}.ffn.down_proj.weight", f"{TARGET}.ffn.down"),
        Rule("transformer.norm_f.weight", "final_norm.weight"),
        Rule("lm_head.weight", "head.weight"),
    ),
    prefix="transformer.",
)
# Of attn_config: the only value that is implemented.
FIXED_OF_ATTENTION: dict[str, Any] = {
    "alibi": True,
    "attn_type": "multihead_attention",
    "prefix_lm": False,
    "qk_gn": False,
    "qk_ln": False,
    "rope": False,
    "sliding_window_size": -1,
}
NORMS = ("layernorm", "low_precision_layernorm")


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden, heads = need(config, "d_model"), need(config, "n_heads")
    attention, dim = _attention_config(config), per_head(hidden, heads)
    mixer = Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=dim,
        scale=given(attention, "softmax_scale", dim**-0.5),
        position=Alibi(steepest=float(given(attention, "alibi_bias_max", 8))),
        clip_qkv=clip_of(attention),
    )
    norm = LayerNorm(given(config, "layer_norm_epsilon", 1e-5), bias=False)
    layer = LayerSpec(mixer, MLP(given(config, "expansion_ratio", 4) * hidden, "gelu"), PreNorm(norm))
    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=given(config, "max_seq_len", 2048),
        embedding=Embedding(hidden),
        layers=(layer,) * need(config, "n_layers"),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", True)),
    )


def _attention_config(config: Config) -> Config:
    """attn_config, once nothing in it or beside it asks for what is not implemented."""
    values: Config = given(config, "attn_config", {})
    for key, only in FIXED_OF_ATTENTION.items():
        if given(values, key, only) != only:
            raise UnsupportedModelError(f"attn_config has {key}={values[key]!r}; implemented is {only!r} only.")
    norm = given(config, "norm_type", NORMS[0])
    if norm not in NORMS:
        raise UnsupportedModelError(f"norm_type={norm!r} is not implemented; known are {', '.join(NORMS)}.")
    return values


ARCHITECTURE = Architecture(
    names=("MptForCausalLM", "MPTForCausalLM"),
    model_type="mpt",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=frozenset(
        {
            "attn_config",
            "d_model",
            "expansion_ratio",
            "layer_norm_epsilon",
            "max_seq_len",
            "n_heads",
            "n_layers",
            "norm_type",
            "tie_word_embeddings",
            "vocab_size",
        }
    ),
    # Positions are learned only without ALiBi; the fraction scales gradients.
    ignored_keys=frozenset({"emb_pdrop", "embedding_fraction", "init_device", "learned_pos_emb"}),
    fixed_keys={"no_bias": True},
)
