"""Arcee's AFMoE (Trinity): gated attention, local layers with positions and global ones without, sandwich norms."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.expert_rules import expert_rules, shared_rules
from jaxpaged.models.experts import Experts, Router, SharedExperts
from jaxpaged.models.hf_config import activation_of, given, layer_types_of, max_position_of, need, rope_of
from jaxpaged.models.spec import (
    Attention,
    DecoderSpec,
    Embedding,
    GatedMLP,
    Head,
    LayerSpec,
    RMSNorm,
    SandwichNorm,
)
from jaxpaged.models.weight_rules import Rule, WeightRules

DEFAULT_HEAD_DIM, DEFAULT_INTERVAL = 128, 4
LAYER = "model.layers.{i}"
WEIGHTS = WeightRules(
    (
        *llama.RULES_BUT_NORMS,
        Rule(f"{LAYER}.self_attn.gate_proj.weight", "layers.{i}.mixer.qkv", "gate"),
        *(
            Rule(f"{LAYER}.{source}.weight", f"layers.{{i}}.{target}.weight")
            for source, target in (
                ("input_layernorm", "mixer_norm"),
                ("post_attention_layernorm", "mixer_norm_after"),
                ("pre_mlp_layernorm", "ffn_norm"),
                ("post_mlp_layernorm", "ffn_norm_after"),
            )
        ),
        *expert_rules(router="router.gate"),
        *shared_rules("shared_experts"),
        Rule(f"{LAYER}.mlp.expert_bias", "layers.{i}.ffn.router.correction"),
    ),
    prefix="model.",
)


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden, count = need(config, "hidden_size"), need(config, "num_hidden_layers")
    interval = given(config, "global_attn_every_n_layers", DEFAULT_INTERVAL)
    default = tuple("sliding_attention" if (i + 1) % interval else "full_attention" for i in range(count))
    norm = RMSNorm(given(config, "rms_norm_eps", 1e-5))
    dim, heads = given(config, "head_dim", DEFAULT_HEAD_DIM), need(config, "num_attention_heads")
    rope = rope_of(config, dim)
    everywhere = Attention(
        heads=heads,
        kv_heads=given(config, "num_key_value_heads", heads),
        head_dim=dim,
        scale=dim**-0.5,
        qk_norm=norm,
        gated=True,
    )
    dense, (mlp, experts) = given(config, "num_dense_layers", 0), feed_forward_of(config)
    local = {"position": rope, "window": need(config, "sliding_window")}
    layers = tuple(
        LayerSpec(everywhere, mlp if i < dense else experts, SandwichNorm(norm)).with_mixer(
            **(local if kind == "sliding_attention" else {})
        )
        for i, kind in enumerate(layer_types_of(config, default))
    )
    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=max_position_of(config, rope),
        embedding=Embedding(hidden, scale=hidden**0.5 if given(config, "mup_enabled", False) else 1.0),
        layers=layers,
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", False)),
    )


def feed_forward_of(config: Config) -> tuple[GatedMLP, Experts]:
    """Of the first layers, and of the others."""
    activation, size = activation_of(config, "hidden_act", "silu"), need(config, "moe_intermediate_size")
    router = Router(
        need(config, "num_experts"),
        need(config, "num_experts_per_tok"),
        scores="sigmoid",
        scale=float(given(config, "route_scale", 1.0)),
        correction_bias=True,
    )
    beside = given(config, "num_shared_experts", 0)
    shared = SharedExperts(GatedMLP(size * beside, activation)) if beside else None
    return GatedMLP(need(config, "intermediate_size"), activation), Experts(router, size, activation, shared=shared)


ARCHITECTURE = Architecture(
    names=("AfmoeForCausalLM",),
    model_type="afmoe",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS
    | {
        "global_attn_every_n_layers",
        "layer_types",
        "moe_intermediate_size",
        "mup_enabled",
        "num_dense_layers",
        "num_experts",
        "num_experts_per_tok",
        "num_shared_experts",
        "route_scale",
        "sliding_window",
    },
    fixed_keys={"attention_bias": False},
)
