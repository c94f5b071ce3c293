"""gpt-oss: sinks, a window on every other layer, YaRN, experts with biases and a clamped SwiGLU."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.experts import ClampedSwiGLU, Experts, Router
from jaxpaged.models.hf_config import given, layer_types_of, max_position_of, need, rope_of
from jaxpaged.models.spec import Attention, DecoderSpec, Embedding, Head, LayerSpec, PreNorm, RMSNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

DEFAULT_HEAD_DIM, DEFAULT_THETA, DEFAULT_LIMIT, DEFAULT_ALPHA = 64, 150000.0, 7.0, 1.702
MLP, FFN = "model.layers.{i}.mlp", "layers.{i}.ffn"
WEIGHTS = WeightRules(
    (
        *(rule for rule in llama.RULES if ".ffn." not in rule.target),
        Rule("model.layers.{i}.self_attn.sinks", "layers.{i}.mixer.sinks"),
        Rule(f"{MLP}.router.weight", f"{FFN}.router.weight"),
        Rule(f"{MLP}.router.bias", f"{FFN}.router.bias"),
        Rule(f"{MLP}.experts.gate_up_proj", f"{FFN}.expert_gate_up", transform="transpose_interleaved"),
        Rule(f"{MLP}.experts.gate_up_proj_bias", f"{FFN}.expert_gate_up_bias", transform="interleaved"),
        Rule(f"{MLP}.experts.down_proj", f"{FFN}.expert_down", transform="transpose"),
        Rule(f"{MLP}.experts.down_proj_bias", f"{FFN}.expert_down_bias"),
    ),
    prefix="model.",
)


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden, dim = need(config, "hidden_size"), given(config, "head_dim", DEFAULT_HEAD_DIM)
    norm = RMSNorm(given(config, "rms_norm_eps", 1e-5))
    rope = rope_of(config, dim, theta=DEFAULT_THETA)
    count = need(config, "num_hidden_layers")
    types = layer_types_of(config, tuple("full_attention" if i % 2 else "sliding_attention" for i in range(count)))
    bias = given(config, "attention_bias", True)
    mixer = Attention(
        heads=need(config, "num_attention_heads"),
        kv_heads=need(config, "num_key_value_heads"),
        head_dim=dim,
        scale=dim**-0.5,
        position=rope,
        qkv_bias=bias,
        out_bias=bias,
        sinks=True,
    )
    layer = LayerSpec(mixer, experts_of(config), PreNorm(norm))
    window = need(config, "sliding_window")
    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=max_position_of(config, rope),
        embedding=Embedding(hidden),
        layers=tuple(layer.with_mixer(window=window if kind == "sliding_attention" else None) for kind in types),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", False)),
    )


def experts_of(config: Config) -> Experts:
    router = Router(need(config, "num_local_experts"), need(config, "num_experts_per_tok"), bias=True)
    limit, alpha = given(config, "swiglu_limit", DEFAULT_LIMIT), given(config, "swiglu_alpha", DEFAULT_ALPHA)
    return Experts(router, need(config, "intermediate_size"), ClampedSwiGLU(float(limit), float(alpha)), bias=True)


ARCHITECTURE = Architecture(
    names=("GptOssForCausalLM",),
    model_type="gpt_oss",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=(llama.KEYS - {"hidden_act"})
    | {
        "attention_bias",
        "layer_types",
        "num_experts_per_tok",
        "num_local_experts",
        "sliding_window",
        "swiglu_alpha",
        "swiglu_limit",
    },
    ignored_keys=frozenset({"experts_per_token", "initial_context_length"}),
    fixed_keys={"hidden_act": "silu"},
    unpacked=frozenset({"mxfp4"}),
)
