"""Llama 4, text: layers without positions among chunked ones, experts on some layers."""

from __future__ import annotations

from dataclasses import replace

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.expert_rules import shared_rules
from jaxpaged.models.experts import Experts, Router, SharedExperts
from jaxpaged.models.hf_config import activation_of, given, layer_types_of, need, rope_of, rotated_layers_of
from jaxpaged.models.spec import (
    Attention,
    DecoderSpec,
    Embedding,
    GatedMLP,
    Head,
    LayerSpec,
    PreNorm,
    RMSNorm,
    Temperature,
)
from jaxpaged.models.weight_rules import Rule, WeightRules

DEFAULT_HEAD_DIM, DEFAULT_THETA, DEFAULT_CHUNK = 128, 500000.0, 8192
DEFAULT_PERIOD, DEFAULT_GROWTH = 8192, 0.1
DENSE = tuple(rule for rule in llama.RULES if ".ffn." in rule.target)
FED, FFN = "model.layers.{i}.feed_forward", "layers.{i}.ffn"
WEIGHTS = WeightRules(
    (
        *(rule for rule in llama.RULES if rule not in DENSE),
        *(replace(rule, source=rule.source.replace(".mlp.", ".feed_forward.")) for rule in DENSE),
        *shared_rules("shared_expert", FED),
        Rule(f"{FED}.router.weight", f"{FFN}.router.weight"),
        Rule(f"{FED}.experts.gate_up_proj", f"{FFN}.expert_gate_up", transform="transpose_rows"),
        Rule(f"{FED}.experts.down_proj", f"{FFN}.expert_down", transform="transpose"),
    ),
    prefix="model.",
)


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden, count = need(config, "hidden_size"), need(config, "num_hidden_layers")
    norm = RMSNorm(given(config, "rms_norm_eps", 1e-5))
    rotated = rotated_layers_of(config)
    types = layer_types_of(
        config,
        tuple("chunked_attention" if each else "full_attention" for each in rotated),
        local="chunked_attention",
    )
    with_rope, chunk = attention_of(config, norm), config.get("attention_chunk_size", DEFAULT_CHUNK) or None
    step = given(config, "interleave_moe_layer_step", 1)
    mixtures = given(config, "moe_layers", list(range(step - 1, count, step)))
    mlp, experts = feed_forward_of(config)
    layers = tuple(
        LayerSpec(with_rope, experts if i in mixtures else mlp, PreNorm(norm)).with_mixer(
            chunk=chunk if types[i] == "chunked_attention" else None,
            **({} if rotated[i] else without_rope(config)),
        )
        for i in range(count)
    )
    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=need(config, "max_position_embeddings"),
        embedding=Embedding(hidden),
        layers=layers,
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", False)),
    )


def attention_of(config: Config, norm: RMSNorm) -> Attention:
    """Of a layer with positions."""
    dim, heads = given(config, "head_dim", DEFAULT_HEAD_DIM), need(config, "num_attention_heads")
    bias = given(config, "attention_bias", False)
    return Attention(
        heads=heads,
        kv_heads=given(config, "num_key_value_heads", heads),
        head_dim=dim,
        scale=dim**-0.5,
        position=rope_of(config, dim, theta=DEFAULT_THETA, pairs="adjacent"),
        qkv_bias=bias,
        out_bias=bias,
        late_qk_norm=RMSNorm(norm.eps, weight=False) if given(config, "use_qk_norm", True) else None,
    )


def without_rope(config: Config) -> dict[str, Temperature | None]:
    """What a layer without positions has instead."""
    period, growth = given(config, "floor_scale", DEFAULT_PERIOD), given(config, "attn_scale", DEFAULT_GROWTH)
    tuned = given(config, "attn_temperature_tuning", True)
    temperature = Temperature(float(period), float(growth), offset=1) if tuned else None
    return {"position": None, "late_qk_norm": None, "temperature": temperature}


def feed_forward_of(config: Config) -> tuple[GatedMLP, Experts]:
    """Of a layer without experts, and of one with them."""
    size, activation = need(config, "intermediate_size"), activation_of(config, "hidden_act", "silu")
    router = Router(
        need(config, "num_local_experts"),
        given(config, "num_experts_per_tok", 1),
        scores="sigmoid",
        renormalize=False,
    )
    shared = SharedExperts(GatedMLP(size, activation))
    return GatedMLP(need(config, "intermediate_size_mlp"), activation), Experts(
        router, size, activation, shared=shared, scale_inputs=True
    )


ARCHITECTURE = Architecture(
    names=("Llama4ForCausalLM",),
    model_type="llama4_text",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS
    | {
        "attention_bias",
        "attention_chunk_size",
        "attn_scale",
        "attn_temperature_tuning",
        "floor_scale",
        "interleave_moe_layer_step",
        "intermediate_size_mlp",
        "layer_types",
        "moe_layers",
        "no_rope_layer_interval",
        "no_rope_layers",
        "num_experts_per_tok",
        "num_local_experts",
        "use_qk_norm",
    },
    ignored_keys=frozenset({"router_jitter_noise"}),
)
