"""Phi-3 and Phi-4-mini: Llama with fused tensors, long rope, and a window that may be longer than the context."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import window_of
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import Rule, WeightRules

FUSED = {"layers.{i}.mixer.qkv", "layers.{i}.ffn.gate_up"}
WEIGHTS = WeightRules(
    (
        *(rule for rule in llama.RULES if rule.target not in FUSED),
        Rule("model.layers.{i}.self_attn.qkv_proj.weight", "layers.{i}.mixer.qkv", transform="rows"),
        Rule("model.layers.{i}.mlp.gate_up_proj.weight", "layers.{i}.ffn.gate_up", transform="rows"),
    ),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)


def spec_from_hf(config: Config) -> DecoderSpec:
    return llama.spec_from_hf(config).with_mixers(window=window_of(config))


ARCHITECTURE = Architecture(
    names=("Phi3ForCausalLM",),
    model_type="phi3",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS | {"partial_rotary_factor", "sliding_window"},
    fixed_keys={
        "attention_bias": False,
        "full_attn_mod": 1,
        "interpolate_factor": 1,
        "lm_head_bias": False,
        "mlp_bias": False,
    },
)
