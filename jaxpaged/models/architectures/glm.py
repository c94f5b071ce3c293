"""GLM-4, as transformers has it, and GLM-4-0414, whose branches are normed before and after."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given, rope_of
from jaxpaged.models.spec import DecoderSpec, RMSNorm, SandwichNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

DEFAULT_HEAD_DIM, DEFAULT_EPS, ROTATED = 128, 1.5625e-7, 0.5
GATE_UP = "layers.{i}.ffn.gate_up"
RULES_BUT_NORMS = (
    *(rule for rule in llama.RULES_BUT_NORMS if rule.target != GATE_UP),
    Rule("model.layers.{i}.mlp.gate_up_proj.weight", GATE_UP, transform="rows"),
)
# From a layer's norms to their names in a checkpoint.
NORMS = {"mixer_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
SANDWICH_NORMS = {**NORMS, "mixer_norm_after": "post_self_attn_layernorm", "ffn_norm_after": "post_mlp_layernorm"}


def spec_from_hf(config: Config) -> DecoderSpec:
    dim = given(config, "head_dim", DEFAULT_HEAD_DIM)
    rope = rope_of(config, dim, rotated=ROTATED, pairs="adjacent")
    spec = llama.llama_spec(config, dim, rope)
    return spec.with_mixers(qkv_bias=given(config, "attention_bias", True), out_bias=False)


def sandwich_spec_from_hf(config: Config) -> DecoderSpec:
    norm = RMSNorm(given(config, "rms_norm_eps", DEFAULT_EPS))
    return spec_from_hf(config).with_layers(residual=SandwichNorm(norm))


def _architecture(name: str, model_type: str, norms: dict[str, str]) -> Architecture:
    rules = (
        Rule(f"model.layers.{{i}}.{source}.weight", f"layers.{{i}}.{target}.weight") for target, source in norms.items()
    )
    return Architecture(
        names=(name,),
        model_type=model_type,
        spec_from_hf=spec_from_hf if norms is NORMS else sandwich_spec_from_hf,
        weights=WeightRules((*RULES_BUT_NORMS, *rules), prefix="model.", ignored=llama.WEIGHTS.ignored),
        used_keys=llama.KEYS | {"attention_bias", "partial_rotary_factor"},
    )


ARCHITECTURES = (
    _architecture("GlmForCausalLM", "glm", NORMS),
    _architecture("Glm4ForCausalLM", "glm4", SANDWICH_NORMS),
)
