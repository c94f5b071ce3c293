"""EXAONE 3: Llama with other names."""

from __future__ import annotations

from collections import ChainMap
from typing import Any, cast

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given, need_one
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import Rule, WeightRules

LAYER, TARGET = "transformer.h.{i}", "layers.{i}"
WEIGHTS = WeightRules(
    (
        Rule("transformer.wte.weight", "embedding.table"),
        *(Rule(f"{LAYER}.attn.attention.{part}_proj.weight", f"{TARGET}.mixer.qkv", part) for part in "qkv"),
        Rule(f"{LAYER}.attn.attention.out_proj.weight", f"{TARGET}.mixer.out"),
        Rule(f"{LAYER}.mlp.c_fc_0.weight", f"{TARGET}.ffn.gate_up", "gate"),
        Rule(f"{LAYER}.mlp.c_fc_1.weight", f"{TARGET}.ffn.gate_up", "up"),
        Rule(f"{LAYER}.mlp.c_proj.weight", f"{TARGET}.ffn.down"),
        Rule(f"{LAYER}.ln_1.weight", f"{TARGET}.mixer_norm.weight"),
        Rule(f"{LAYER}.ln_2.weight", f"{TARGET}.ffn_norm.weight"),
        Rule("transformer.ln_f.weight", "final_norm.weight"),
        Rule("lm_head.weight", "head.weight"),
    ),
    prefix="transformer.",
    ignored=(r"rotary(_emb)?\.inv_freq",),
)


def spec_from_hf(config: Config) -> DecoderSpec:
    """Read by Llama's names of the keys."""
    renamed = {
        "num_hidden_layers": need_one(config, "num_layers", "num_hidden_layers"),
        "rms_norm_eps": given(config, "layer_norm_epsilon", 1e-5),
        "hidden_act": given(config, "activation_function", "silu"),
    }
    return llama.spec_from_hf(ChainMap(renamed, cast("dict[str, Any]", config)))


ARCHITECTURE = Architecture(
    names=("ExaoneForCausalLM",),
    model_type="exaone",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=(llama.KEYS - {"hidden_act", "rms_norm_eps"})
    | {"activation_function", "layer_norm_epsilon", "num_layers"},
    ignored_keys=frozenset({"embed_dropout"}),
)
