"""Gemma 2: sandwich norms around zero, soft caps, every other layer local."""

from __future__ import annotations

from collections.abc import Mapping

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import activation_of, given, layer_types_of, max_position_of, need, rope_of
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import (
    Attention,
    DecoderSpec,
    Embedding,
    GatedMLP,
    Head,
    LayerSpec,
    Norm,
    RMSNorm,
    SandwichNorm,
)
from jaxpaged.models.weight_rules import Rule, WeightRules

WEIGHTS = WeightRules(
    (
        *llama.RULES_BUT_NORMS,
        Rule("model.layers.{i}.input_layernorm.weight", "layers.{i}.mixer_norm.weight"),
        Rule("model.layers.{i}.post_attention_layernorm.weight", "layers.{i}.mixer_norm_after.weight"),
        Rule("model.layers.{i}.pre_feedforward_layernorm.weight", "layers.{i}.ffn_norm.weight"),
        Rule("model.layers.{i}.post_feedforward_layernorm.weight", "layers.{i}.ffn_norm_after.weight"),
    ),
    prefix="model.",
    ignored=(r"rotary_emb\.inv_freq",),
)
KEYS = (llama.KEYS - {"hidden_act"}) | {
    "attention_bias",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "hidden_activation",
    "layer_types",
    "query_pre_attn_scalar",
    "sliding_window",
}
DEFAULT_HEAD_DIM, DEFAULT_WINDOW, DEFAULT_SCALAR = 256, 4096, 256
SCORE_CAP, LOGIT_CAP = 50.0, 30.0


def sandwich_spec(
    config: Config,
    *,
    types: tuple[str, ...],
    ropes: Mapping[str, Rope],
    max_position: int,
    caps: tuple[float | None, float | None],
    qk_norm: Norm | None = None,
) -> DecoderSpec:
    """What Gemma 2 and 3 share. ropes: per layer type; caps: of scores and of logits."""
    hidden, dim = need(config, "hidden_size"), given(config, "head_dim", DEFAULT_HEAD_DIM)
    norm = RMSNorm(given(config, "rms_norm_eps", 1e-6), offset=1.0)
    bias = given(config, "attention_bias", False)
    ffn = GatedMLP(need(config, "intermediate_size"), activation_of(config, "hidden_activation", "gelu_pytorch_tanh"))
    window = config.get("sliding_window", DEFAULT_WINDOW)

    def layer(kind: str) -> LayerSpec:
        mixer = Attention(
            heads=need(config, "num_attention_heads"),
            kv_heads=need(config, "num_key_value_heads"),
            head_dim=dim,
            scale=given(config, "query_pre_attn_scalar", DEFAULT_SCALAR) ** -0.5,
            position=ropes[kind],
            window=window if kind == "sliding_attention" else None,
            soft_cap=caps[0],
            qkv_bias=bias,
            out_bias=bias,
            qk_norm=qk_norm,
        )
        return LayerSpec(mixer, ffn, SandwichNorm(norm))

    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=max_position,
        embedding=Embedding(hidden, scale=hidden**0.5),
        layers=tuple(map(layer, types)),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", True), soft_cap=caps[1]),
    )


def spec_from_hf(config: Config) -> DecoderSpec:
    count = need(config, "num_hidden_layers")
    default = tuple("full_attention" if i % 2 else "sliding_attention" for i in range(count))
    rope = rope_of(config, given(config, "head_dim", DEFAULT_HEAD_DIM))
    return sandwich_spec(
        config,
        types=layer_types_of(config, default),
        ropes={"full_attention": rope, "sliding_attention": rope},
        max_position=max_position_of(config, rope),
        caps=(config.get("attn_logit_softcapping", SCORE_CAP), config.get("final_logit_softcapping", LOGIT_CAP)),
    )


ARCHITECTURE = Architecture(
    names=("Gemma2ForCausalLM",),
    model_type="gemma2",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=KEYS,
    ignored_keys=frozenset({"hidden_act"}),
    fixed_keys={"use_bidirectional_attention": False},
)
