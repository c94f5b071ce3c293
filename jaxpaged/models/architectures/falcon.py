"""Falcon: multi-query parallel layers (7B), grouped ones with two norms (40B), or serial ones with ALiBi (RW)."""

from __future__ import annotations

from dataclasses import replace

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import bloom
from jaxpaged.models.hf_config import ROPE_KEYS, activation_of, given, max_position_of, need, per_head, rope_of
from jaxpaged.models.spec import (
    MLP,
    Alibi,
    Attention,
    DecoderSpec,
    Embedding,
    Head,
    LayerNorm,
    LayerSpec,
    Parallel,
    PreNorm,
)
from jaxpaged.models.weight_rules import Rule

DEFAULT_LENGTH = 2048
SECOND_NAMES = {"input_layernorm": "ln_attn", "post_attention_layernorm": "ln_mlp"}  # where a layer has two norms


def _with_second_name(rule: Rule) -> Rule:
    aliases = (rule.source.replace(name, second) for name, second in SECOND_NAMES.items() if name in rule.source)
    return replace(rule, aliases=tuple(aliases))


WEIGHTS = replace(bloom.WEIGHTS, rules=tuple(map(_with_second_name, bloom.WEIGHTS.rules)))


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden, heads = need(config, "hidden_size"), need(config, "num_attention_heads")
    dim, bias = per_head(hidden, heads), given(config, "bias", False)
    rope, longest = rope_of(config, dim), given(config, "max_position_embeddings", DEFAULT_LENGTH)
    alibi = given(config, "alibi", False)
    mixer = Attention(
        heads=heads,
        kv_heads=_kv_heads(config, heads),
        head_dim=dim,
        scale=dim**-0.5,
        position=Alibi(scale=dim**-0.5) if alibi else rope,  # added before the scores are scaled
        qkv_bias=bias,
        out_bias=bias,
    )
    ffn = MLP(given(config, "ffn_hidden_size", 4 * hidden), activation_of(config, "activation", "gelu"), bias=bias)
    norm = LayerNorm(given(config, "layer_norm_epsilon", 1e-5))
    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=longest if alibi else max_position_of({"max_position_embeddings": longest}, rope),
        embedding=Embedding(hidden),
        layers=(LayerSpec(mixer, ffn, _residual(config, norm)),) * need(config, "num_hidden_layers"),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", True)),
    )


def _kv_heads(config: Config, heads: int) -> int:
    """Of the new architecture as the config says; before it one, or one for each query head."""
    if given(config, "new_decoder_architecture", False):
        return int(given(config, "num_kv_heads", heads))
    return 1 if given(config, "multi_query", True) else heads


def _residual(config: Config, norm: LayerNorm) -> Parallel | PreNorm:
    if given(config, "new_decoder_architecture", False):
        return Parallel(norm, norm if given(config, "num_ln_in_parallel_attn", 2) == 2 else None)
    return Parallel(norm) if given(config, "parallel_attn", True) else PreNorm(norm)


def spec_from_refined_web(config: Config) -> DecoderSpec:
    """The first spelling: only the 40B model names its key-value heads, and it has the new architecture."""
    values = {
        "num_attention_heads": need(config, "n_head"),
        "num_hidden_layers": need(config, "n_layer"),
        "num_kv_heads": config.get("n_head_kv"),
        "new_decoder_architecture": config.get("n_head_kv") is not None,
    }
    return spec_from_hf({**config, **values})


KEYS = ROPE_KEYS | {
    "alibi",
    "bias",
    "hidden_size",
    "layer_norm_epsilon",
    "multi_query",
    "parallel_attn",
    "tie_word_embeddings",
    "vocab_size",
}
ARCHITECTURES = (
    Architecture(
        names=("FalconForCausalLM",),
        model_type="falcon",
        spec_from_hf=spec_from_hf,
        weights=WEIGHTS,
        used_keys=KEYS
        | {
            "activation",
            "ffn_hidden_size",
            "new_decoder_architecture",
            "num_attention_heads",
            "num_hidden_layers",
            "num_kv_heads",
            "num_ln_in_parallel_attn",
        },
    ),
    Architecture(
        names=("RWForCausalLM",),
        model_type="RefinedWebModel",
        spec_from_hf=spec_from_refined_web,
        weights=WEIGHTS,
        used_keys=KEYS | {"n_head", "n_head_kv", "n_layer"},
    ),
)
